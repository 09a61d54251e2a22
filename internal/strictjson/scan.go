package strictjson

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/stepgate/stepgate/internal/passkey"
)

// scan walks over a document that [json.Valid] has accepted, so that everything is known to be well formed: a string ends, a
// name has a value. It looks for what that does not: names that repeat, and depth.
type scan struct {
	text []byte
	at   int
}

// space steps over white space, and returns what comes then.
func (s *scan) space() byte {
	for {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
}

// value steps over a value, of which depth levels may nest.
func (s *scan) value(depth int) error {
	switch s.space() {
	case '{':
		return s.object(depth, nil)
	case '[':
		return s.array(depth)
	case '"':
		s.quoted()
		return nil
	}
	for s.at < len(s.text) { // a number, true, false or null
		switch s.text[s.at] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return nil
		}
		s.at++
	}
	return nil
}

// quoted steps over a string and returns it, quotes included, and whether it is what it stands for: without escapes.
func (s *scan) quoted() (text []byte, plain bool) {
	begin := s.at
	plain = true
	for s.at++; ; s.at++ {
		switch s.text[s.at] {
		case '\\':
			plain = false
			s.at++
		case '"':
			s.at++
			return s.text[begin:s.at], plain
		}
	}
}

// name is quoted, unquoted.
func (s *scan) name() (string, error) {
	text, plain := s.quoted()
	if plain {
		return string(text[1 : len(text)-1]), nil
	}
	var name string
	if err := json.Unmarshal(text, &name); err != nil {
		return "", malformed("not JSON")
	}
	return name, nil
}

// object steps over an object and adds its members to o, unless that is nil.
func (s *scan) object(depth int, o Object) error {
	if depth == 0 {
		return tooDeep()
	}
	s.at++
	var seen names
	for s.space() != '}' {
		if s.text[s.at] == ',' {
			s.at++
			s.space()
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		if !seen.add(fold(name)) {
			return malformed("a member named twice")
		}
		s.space()
		s.at++ // the colon
		s.space()
		begin := s.at
		if err := s.value(depth - 1); err != nil {
			return err
		}
		if o != nil {
			o[name] = s.text[begin:s.at:s.at]
		}
	}
	s.at++
	return nil
}

func (s *scan) array(depth int) error {
	if depth == 0 {
		return tooDeep()
	}
	s.at++
	for s.space() != ']' {
		if s.text[s.at] == ',' {
			s.at++
		}
		if err := s.value(depth - 1); err != nil {
			return err
		}
	}
	s.at++
	return nil
}

func tooDeep() error { return malformed("nested deeper than %d levels", MaxDepth) }

// few is how many names are looked through one by one.
const few = 16

// names are the folded names of an object's members.
type names struct {
	list []string
	many map[string]bool
	room [few]string
}

// add reports whether the name was not there yet.
func (n *names) add(name string) bool {
	if n.many != nil {
		if n.many[name] {
			return false
		}
		n.many[name] = true
		return true
	}
	if n.list == nil {
		n.list = n.room[:0]
	}
	if slices.Contains(n.list, name) {
		return false
	}
	if n.list = append(n.list, name); len(n.list) > few {
		n.many = make(map[string]bool, 2*len(n.list))
		for _, name := range n.list {
			n.many[name] = true
		}
	}
	return true
}

// fold is [passkey.FoldName], which leaves names in small letters of ASCII as they are.
func fold(name string) string {
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			return passkey.FoldName(name)
		}
	}
	return name
}

// plain returns a string that stands in a document as it is, if raw is one.
func plain(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return string(raw[1 : len(raw)-1]), true
}
