// Package assets holds everything a person sees of Stepgate: page templates, one stylesheet, one script and one icon,
// all embedded.
//
// The idea: a page is rendered on the server and says everything that the server knows. The script reads its
// configuration from data-* attributes and adds only what a browser alone can do: ask for a passkey. There is no inline
// script, no inline style and nothing from elsewhere, so that [ContentSecurityPolicy] can forbid all of it.
//
// What an attacker can and cannot do: every value that came from outside (user names, passkey names, paths) passes
// through html/template's contextual escaping, and the script puts text into the page only as text. A value can
// therefore say something misleading, but cannot become markup, script or a link to another origin. A page is rendered
// completely before its first byte is written: a template that fails never leaves half a page.
//
// Asset names carry a hash of their content, so they can be cached for ever, and a page never meets the script of
// another version.
package assets

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"path"
	"strings"
	"sync"
)

// ContentSecurityPolicy is the policy that every page of this package is written for.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

//go:embed *.html *.js *.css *.svg
var files embed.FS

// File is an asset as it is served. Its content never changes under its name.
type File struct {
	ContentType string // with charset where it is text
	Body        []byte // shared: not to be changed
	ETag        string // strong, with its quotes
}

// contentTypes lists what may be served at all: a template is not an asset.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// load returns two maps that are filled once and only read after that: stepgate.js to stepgate.0123456789abcdef.js, and
// that to its content.
//
// Like everything below, it is made when a page or an asset is first asked for: a program that serves none, such as most of
// the commands and a gateway that nobody has met yet, does not wait or hold memory for it.
var load = sync.OnceValues(func() (hashed map[string]string, served map[string]File) {
	entries, err := files.ReadDir(".")
	if err != nil {
		panic("assets: " + err.Error())
	}
	hashed, served = make(map[string]string), make(map[string]File)
	for _, entry := range entries {
		ext := path.Ext(entry.Name())
		contentType, ok := contentTypes[ext]
		if !ok {
			continue
		}
		body, err := files.ReadFile(entry.Name())
		if err != nil {
			panic("assets: " + err.Error())
		}
		sum := sha256.Sum256(body)
		digest := hex.EncodeToString(sum[:8])
		name := strings.TrimSuffix(entry.Name(), ext) + "." + digest + ext
		hashed[entry.Name()] = name
		served[name] = File{ContentType: contentType, Body: body, ETag: `"` + digest + `"`}
	}
	return hashed, served
})

// Lookup returns the asset with a hashed name, such as stepgate.0123456789abcdef.js. There is no other name for it:
// neither stepgate.js nor one with an older hash.
func Lookup(name string) (File, bool) {
	_, served := load()
	f, ok := served[name]
	return f, ok
}

// URL returns the path under which the asset called name in this folder is served, for the gateway's prefix.
func URL(prefix, name string) (string, error) {
	hashed, _ := load()
	h, ok := hashed[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return prefix + "/assets/" + h, nil
}

// pages holds one set of templates per page: layout.html around the page's own file.
var pages = map[string]func() *template.Template{
	"challenge": parse("challenge.html"),
	"account":   parse("account.html"),
	"message":   parse("message.html"),
}

func parse(page string) func() *template.Template {
	return sync.OnceValue(func() *template.Template {
		return template.Must(template.New("layout.html").
			Funcs(template.FuncMap{"asset": URL, "level": levelWords, "kind": kindWords, "instant": instant, "day": day}).
			ParseFS(files, "layout.html", page))
	})
}

// render writes the page, or nothing.
func render(w io.Writer, page string, view any) error {
	var b bytes.Buffer
	if err := pages[page]().ExecuteTemplate(&b, "layout.html", view); err != nil {
		return fmt.Errorf("rendering %s page: %w", page, err)
	}
	_, err := w.Write(b.Bytes())
	return err
}
