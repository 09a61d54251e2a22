package ceremony

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
)

const (
	maxBody  = 64 << 10 // bytes; a reply with a 1023-byte credential id and a TPM attestation has about 12 KiB
	maxDepth = 32       // of nested objects and arrays
)

// object is a JSON object in which no two members have names that differ only in case. encoding/json lets the last of
// them win ("Origin" would override "origin"), which another parser on the way may read differently.
type object map[string]any

// malformed says what is wrong with a body, in words of ours only: never anything the client sent.
func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, passkey.BodyMalformed)...)
}

// parseObject decodes one JSON object and nothing after it. The text must be valid UTF-8 without a byte order mark.
func parseObject(text []byte) (object, error) {
	// json.Valid refuses trailing data, a byte order mark, and nesting that would exhaust the stack.
	if !utf8.Valid(text) || !json.Valid(text) {
		return nil, malformed("not JSON in UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	value, err := parseValue(decoder, maxDepth)
	if err != nil {
		return nil, err
	}
	o, ok := value.(object)
	if !ok {
		return nil, malformed("not a JSON object")
	}
	return o, nil
}

func parseValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, malformed("not JSON")
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth == 0 {
		return nil, malformed("nested deeper than %d levels", maxDepth)
	}
	if delim == '[' {
		array := []any{}
		for decoder.More() {
			v, err := parseValue(decoder, depth-1)
			if err != nil {
				return nil, err
			}
			array = append(array, v)
		}
		return array, closing(decoder)
	}
	o, folded := object{}, map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, malformed("not JSON")
		}
		fold := passkey.FoldName(name)
		if folded[fold] {
			return nil, malformed("a member named twice")
		}
		folded[fold] = true
		if o[name], err = parseValue(decoder, depth-1); err != nil {
			return nil, err
		}
	}
	return o, closing(decoder)
}

// closing reads the bracket that ends an object or array.
func closing(decoder *json.Decoder) error {
	if _, err := decoder.Token(); err != nil {
		return malformed("not JSON")
	}
	return nil
}

// reader takes members out of an object. The first error sticks and is what every later call leaves in place, so a
// caller reads all it needs and checks err once.
type reader struct {
	o   object
	err error
}

// read starts reading the members named. A member whose name is one of them in another case is refused: a lax parser
// would take it for the real one.
func read(o object, names ...string) *reader {
	r := &reader{o: o}
	for name := range o {
		if slices.Contains(names, name) {
			continue
		}
		fold := passkey.FoldName(name)
		if slices.ContainsFunc(names, func(known string) bool { return passkey.FoldName(known) == fold }) {
			r.fail("a member named in the wrong case")
		}
	}
	return r
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

func (r *reader) has(name string) bool {
	_, ok := r.o[name]
	return ok
}

// text returns a string member. Missing is an error.
func (r *reader) text(name string) string {
	s, ok := r.o[name].(string)
	if !ok {
		r.fail("%s is no string", name)
	}
	return s
}

// flag returns a boolean member; false when it is missing.
func (r *reader) flag(name string) bool {
	v, ok := r.o[name]
	b, isBool := v.(bool)
	if ok && !isBool {
		r.fail("%s is no boolean", name)
	}
	return b
}

// bytes returns a member in base64url, in its one canonical encoding: no padding, no line breaks, unused bits zero.
func (r *reader) bytes(name string) []byte {
	s := r.text(name)
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || base64.RawURLEncoding.EncodeToString(b) != s {
		r.fail("%s is not in canonical base64url", name)
		return nil
	}
	return b
}

// optionalBytes is bytes for a member that may be missing or null.
func (r *reader) optionalBytes(name string) []byte {
	if r.o[name] == nil {
		return nil
	}
	return r.bytes(name)
}

// child returns an object member. Missing is an error.
func (r *reader) child(name string) object {
	o, ok := r.o[name].(object)
	if !ok {
		r.fail("%s is no object", name)
	}
	return o
}

// texts returns a member that is an array of strings; nil when it is missing.
func (r *reader) texts(name string) []string {
	v, ok := r.o[name]
	if !ok {
		return nil
	}
	array, ok := v.([]any)
	if !ok {
		r.fail("%s is no array", name)
	}
	var texts []string
	for _, element := range array {
		s, ok := element.(string)
		if !ok {
			r.fail("%s holds something else than strings", name)
		}
		texts = append(texts, s)
	}
	return texts
}
