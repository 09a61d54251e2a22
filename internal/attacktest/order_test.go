package attacktest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// C20: wherever else the protected content could come from in the same site, the gate stands before it: static files, rewrites,
// stripped prefixes, and the routes that Caddy runs on errors.
func TestC20_OrderOfDirectives(t *testing.T) {
	t.Parallel()
	const secret = "the quarterly figures"
	for name, directives := range map[string]string{
		"static files":               "file_server",
		"static files written first": "file_server\n$GATE",
		"a fallback":                 "try_files {path} /admin/secret.txt\nfile_server",
		"a rewrite":                  "rewrite /public/* /admin/secret.txt\nfile_server",
		"a rewrite of what is open":  "rewrite /open/* /admin/secret.txt\nfile_server",
		"a stripped prefix":          "uri strip_prefix /open\nfile_server",
		"an error page":              "error /missing 404\nfile_server\nhandle_errors {\nrewrite * /open/hello.txt\nfile_server\n}",
		"errors served as files":     "error /admin/* 404\nfile_server\nhandle_errors {\nfile_server\n}",
		"a browsing file server":     "file_server browse",
		"precompressed files":        "file_server {\nprecompressed gzip\n}",
		"an index":                   "rewrite / /admin/secret.txt\nfile_server",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const gate = "stepgate {\nuser {header.X-User}\nopen /open/*\n}"
			g := gatewaytest.Prepare(t)
			must := func(err error) { gatewaytest.Must(t, err) }
			root := filepath.Join(g.Folder, "www", "admin")
			must(os.MkdirAll(root, 0o700))
			must(os.MkdirAll(filepath.Join(g.Folder, "www", "open"), 0o700))
			for _, file := range []string{"secret.txt", "secret.txt.gz"} {
				must(os.WriteFile(filepath.Join(root, file), []byte(secret), 0o600))
			}
			must(os.WriteFile(filepath.Join(g.Folder, "www", "open", "hello.txt"), []byte("hello"), 0o600))
			if strings.Contains(directives, "$GATE") {
				directives = strings.ReplaceAll(directives, "$GATE", gate)
			} else {
				directives = gate + "\n" + directives
			}
			g.Configure(gatewaytest.Globals("") + "http://localhost:$PORT {\nroot * $DIR/www\n" + directives + "\n}\n")
			g.Run()
			s := &scene{T: t, g: g, version: http1, who: "c20"}
			c := gatewaytest.NewClient(t, g, "carol")
			for _, path := range []string{
				"/admin/secret.txt", "/admin/", "/admin", "/public/x", "/open/x", "/open/admin/secret.txt", "/missing", "/nothing", "/", "/ADMIN/SECRET.TXT", "/admin/secret.txt.gz", "/secret.txt",
			} {
				for _, accept := range []string{"*/*", "text/html"} {
					answer := s.sent(c, "GET", path, nil, "Accept", accept)
					if strings.Contains(string(answer.Body), secret) || strings.Contains(string(answer.Body), "secret.txt\"") {
						t.Errorf("%s for %s: %d %s", path, accept, answer.Status, answer.Body)
					}
				}
			}
			// With a grant it is to be had, so that what is kept here is kept by the gate.
			if name == "static files" {
				must(c.Register("Key"))
				answer, err := c.StepUp("/admin/secret.txt")
				must(err)
				must(answer.Expect(200))
				if answer := s.sent(c, "GET", "/admin/secret.txt", nil); string(answer.Body) != secret {
					t.Errorf("with a grant: %d %s", answer.Status, answer.Body)
				}
			}
		})
	}
}

// B15: an origin that is https is none over plain HTTP, with the right Host and a live grant.
func TestB15_PlainHTTP(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	plainPort := gatewaytest.FreePort(t)
	g.URL = "https://" + strings.TrimPrefix(g.Fill("localhost:$PORT"), "https://")
	text := gatewaytest.Secure + strings.ReplaceAll(`http://localhost:PLAIN {
	log
	stepgate {
		user {header.X-User}
	}
	reverse_proxy $UPSTREAM
}
`, "PLAIN", itoa(plainPort))
	g.Configure(text)
	g.Run()
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	answer, err := c.StepUp("/keys")
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	grant := answer.Cookie("__Host-stepgate")
	s := &scene{T: t, g: g, version: http1, who: "b15"}
	g.Upstream.Take()
	for _, header := range [][]string{{}, {"X-Forwarded-Proto", "https"}, {"Forwarded", "proto=https"}, {"X-Forwarded-For", "127.0.0.1", "X-Forwarded-Proto", "https"}} {
		over := plainly(c, plainPort)
		answer := s.sent(over, "GET", "/keys", nil, append(header, "Cookie", grant)...)
		s.refused(nil, answer, "origin_insecure", "")
		answer = s.sent(over, "POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}, header...)
		s.refused(nil, answer, "origin_insecure", "")
	}
}
