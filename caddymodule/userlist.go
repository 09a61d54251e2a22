package caddymodule

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// byteOrderMark is what some editors begin a file with. Files put together have more of them.
const byteOrderMark = '\ufeff'

// readNames reads a list of users, one a line. A name that no first factor could hand over is an error, and so is one that
// nobody can see is another one: the list is not what it should be, and who is named wrongly on it counts as gone.
func readNames(path string, fold bool) (names []string, err error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path) // #nosec G304 -- the administrator names the file
		if err != nil {
			return nil, fmt.Errorf("opening the list of users: %w", err)
		}
		defer file.Close()
		in = file
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(in)
	number := 0
	for lines.Scan() {
		number++
		name := listed(lines.Text())
		if name == "" {
			continue
		}
		if err := passkey.CheckUser(name); err != nil {
			return nil, fmt.Errorf("%s, line %d: %s", path, number, adminMessages[passkey.UserInvalid])
		}
		if at := hidden(name); at != 0 {
			return nil, fmt.Errorf("%s, line %d: %+q has %U where it can't be seen: take it out, or the whole line", path, number, name, at)
		}
		if fold {
			name = gate.FoldUser(name)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of users behind line %d: %w", number, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s names no user", path)
	}
	return names, nil
}

// listed returns the name that a line of the list has; "" for none. Marks and white space go in whatever order they come.
func listed(line string) string {
	name := strings.TrimLeftFunc(line, func(r rune) bool { return r == byteOrderMark || unicode.IsSpace(r) })
	if strings.HasPrefix(name, "#") {
		return ""
	}
	return strings.TrimSpace(name)
}

// hidden returns a character of the name that nobody sees: any at its ends, and a byte order mark wherever it is, for there
// two lines became one. It is 0 where there is none.
func hidden(name string) rune {
	first, _ := utf8.DecodeRuneInString(name)
	last, _ := utf8.DecodeLastRuneInString(name)
	for _, r := range []rune{first, last} {
		if unicode.In(r, unicode.Cf, unicode.Z, unicode.Other_Default_Ignorable_Code_Point) || r == '\u2800' {
			return r
		}
	}
	if strings.ContainsRune(name, byteOrderMark) {
		return byteOrderMark
	}
	return 0
}

// unnameable reports whether no list can have this name, such that nobody could say that they stay.
func unnameable(name string) bool { return listed(name) != name || hidden(name) != 0 }
