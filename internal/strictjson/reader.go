package strictjson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
)

// Reader takes members out of an object. The first error sticks, so a caller reads all it needs and checks [Reader.Err]
// once; what was read before that is worth nothing.
type Reader struct {
	object Object
	err    error
}

// Read starts reading the members named. A member whose name is one of them in another case is refused: a lax parser
// would take it for the real one. Any other member is ignored.
func Read(o Object, names ...string) *Reader {
	r := &Reader{object: o}
	for name := range o {
		if slices.Contains(names, name) {
			continue
		}
		folded := fold(name)
		if slices.ContainsFunc(names, func(known string) bool { return fold(known) == folded }) {
			r.Fail("a member named in the wrong case")
		}
	}
	return r
}

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// Fail records an error of the caller's own, unless there is one already.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(format, args...)
	}
}

// Adopt records another reader's error, unless there is one already.
func (r *Reader) Adopt(other *Reader) {
	if r.err == nil {
		r.err = other.err
	}
}

// Has reports whether the member is there, null or not.
func (r *Reader) Has(name string) bool {
	_, ok := r.object[name]
	return ok
}

// Given reports whether the member is there and not null.
func (r *Reader) Given(name string) bool {
	raw, ok := r.object[name]
	return ok && !isNull(raw)
}

// Raw returns a member as it stands in the document. Missing or null is an error.
func (r *Reader) Raw(name string) []byte {
	if !r.Given(name) {
		r.Fail("%s is missing", name)
	}
	return r.object[name]
}

// Text returns a string member. Missing or null is an error.
func (r *Reader) Text(name string) string {
	if text, ok := plain(r.object[name]); ok {
		return text
	}
	return decode[string](r, name, "string")
}

// OptionalText returns a string member, "" when it is missing or null.
func (r *Reader) OptionalText(name string) string {
	if !r.Given(name) {
		return ""
	}
	return r.Text(name)
}

// Flag returns a boolean member; false when it is missing. Null is an error.
func (r *Reader) Flag(name string) bool {
	return r.Has(name) && decode[bool](r, name, "boolean")
}

// canonical refuses unused bits that are not zero.
var canonical = base64.RawURLEncoding.Strict()

// Bytes returns a member in base64url, in its one canonical encoding: no padding, no line breaks, unused bits zero.
func (r *Reader) Bytes(name string) []byte {
	text := r.Text(name)
	value, err := canonical.DecodeString(text)
	if err != nil || canonical.EncodedLen(len(value)) != len(text) { // else there are line breaks in it
		r.Fail("%s is not in canonical base64url", name)
		return nil
	}
	return value
}

// OptionalBytes is Bytes for a member that may be missing or null.
func (r *Reader) OptionalBytes(name string) []byte {
	if !r.Given(name) {
		return nil
	}
	return r.Bytes(name)
}

// Object returns an object member. Missing or null is an error.
func (r *Reader) Object(name string) Object {
	raw := r.object[name]
	if len(raw) == 0 || raw[0] != '{' {
		r.Fail("%s is no object", name)
		return nil
	}
	o := make(Object, 8)
	if err := (&scan{text: raw}).object(MaxDepth, o); err != nil {
		r.Fail("%s is no object", name) // it was checked with the document
		return nil
	}
	return o
}

// Texts returns a member that is an array of strings; nil when it is missing. Null is an error.
func (r *Reader) Texts(name string) []string {
	if !r.Has(name) {
		return nil
	}
	var texts []string
	for _, raw := range decode[[]json.RawMessage](r, name, "array") {
		var text string
		if isNull(raw) || json.Unmarshal(raw, &text) != nil {
			r.Fail("%s holds something else than strings", name)
		}
		texts = append(texts, text)
	}
	return texts
}

func decode[T any](r *Reader, name, kind string) (value T) {
	raw := r.object[name]
	if len(raw) == 0 || isNull(raw) || json.Unmarshal(raw, &value) != nil {
		r.Fail("%s is no %s", name, kind)
	}
	return value
}

func isNull(raw json.RawMessage) bool { return bytes.Equal(raw, []byte("null")) }
