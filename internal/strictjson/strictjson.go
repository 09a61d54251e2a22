// Package strictjson reads JSON that a client sent so that no two parsers could read it differently.
//
// encoding/json takes the last of several members of one name, and takes `"Origin"` for `"origin"`; a check made on one
// reading could then be undone by the other. Here a document is refused when any object in it names a member twice or
// in two spellings of one name, when it nests deeper than [MaxDepth], is not UTF-8, or has anything behind it; and
// members are found by their exact name only. Every error wraps [passkey.BodyMalformed] and quotes nothing of the
// document.
package strictjson

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
)

// MaxDepth is how deep objects and arrays may nest.
const MaxDepth = 32

// Object is a checked JSON object whose members are found by exact name. They are parts of the document, which must stay as it
// is.
type Object map[string]json.RawMessage

// Parse reads one JSON object and checks everything in it.
func Parse(document []byte) (Object, error) {
	// json.Valid refuses trailing data, a byte order mark, and nesting that would exhaust the stack.
	if !utf8.Valid(document) || !json.Valid(document) {
		return nil, malformed("not JSON in UTF-8")
	}
	s := &scan{text: document}
	if s.space() != '{' {
		if err := s.value(MaxDepth); err != nil {
			return nil, err
		}
		return nil, malformed("not a JSON object")
	}
	o := make(Object, 8)
	if err := s.object(MaxDepth, o); err != nil {
		return nil, err
	}
	return o, nil
}

// malformed says what is wrong, in words of ours only.
func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, passkey.BodyMalformed)...)
}
