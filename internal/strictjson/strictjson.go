// Package strictjson reads JSON that a client sent so that no two parsers could read it differently.
//
// encoding/json takes the last of several members of one name, and takes `"Origin"` for `"origin"`; a check made on one
// reading could then be undone by the other. Here a document is refused when any object in it names a member twice or
// in two spellings of one name, when it nests deeper than [MaxDepth], is not UTF-8, or has anything behind it; and
// members are found by their exact name only. Every error wraps [passkey.BodyMalformed] and quotes nothing of the
// document.
package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
)

// MaxDepth is how deep objects and arrays may nest.
const MaxDepth = 32

// Object is a checked JSON object whose members are found by exact name.
type Object map[string]json.RawMessage

// Parse reads one JSON object and checks everything in it.
func Parse(document []byte) (Object, error) {
	// json.Valid refuses trailing data, a byte order mark, and nesting that would exhaust the stack.
	if !utf8.Valid(document) || !json.Valid(document) {
		return nil, malformed("not JSON in UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	if err := check(decoder, MaxDepth); err != nil {
		return nil, err
	}
	var o Object
	if err := json.Unmarshal(document, &o); err != nil || o == nil {
		return nil, malformed("not a JSON object")
	}
	return o, nil
}

// check reads one value and refuses repeated names anywhere in it.
func check(decoder *json.Decoder, depth int) error {
	token, err := decoder.Token()
	if err != nil {
		return malformed("not JSON")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if depth == 0 {
		return malformed("nested deeper than %d levels", MaxDepth)
	}
	names := map[string]bool{}
	for decoder.More() {
		if delim == '{' {
			token, err := decoder.Token()
			name, ok := token.(string)
			if err != nil || !ok {
				return malformed("not JSON")
			}
			folded := passkey.FoldName(name)
			if names[folded] {
				return malformed("a member named twice")
			}
			names[folded] = true
		}
		if err := check(decoder, depth-1); err != nil {
			return err
		}
	}
	if _, err := decoder.Token(); err != nil { // the closing bracket
		return malformed("not JSON")
	}
	return nil
}

// malformed says what is wrong, in words of ours only.
func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, passkey.BodyMalformed)...)
}
