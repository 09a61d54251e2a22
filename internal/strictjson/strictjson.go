// Package strictjson reads JSON that a client sent so that no two parsers could read it differently.
//
// encoding/json takes the last of several members of one name, and takes `"Origin"` for `"origin"`; a check made on one
// reading could then be undone by the other. Here a document is refused when any object in it names a member twice or
// in two spellings of one name, when it nests deeper than [MaxDepth], is not UTF-8, or has anything behind it; and
// members are found by their exact name only.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxDepth is how deep objects and arrays may nest.
const MaxDepth = 32

// ErrMalformed is wrapped by every error of this package. The errors quote nothing of the document.
var ErrMalformed = errors.New("malformed JSON")

// Object is a JSON object whose members are found by exact name.
type Object map[string]json.RawMessage

// Parse reads one JSON object and checks everything in it.
func Parse(document []byte) (Object, error) {
	if err := check(document); err != nil {
		return nil, err
	}
	var o Object
	if err := json.Unmarshal(document, &o); err != nil || o == nil {
		return nil, fmt.Errorf("%w: not an object", ErrMalformed)
	}
	return o, nil
}

// Known fails when the object has a member that is spelled like one of the names but for its case: somebody else's
// parser might take it for that name.
func (o Object) Known(names ...string) error {
	for member := range o {
		for _, name := range names {
			if member != name && strings.EqualFold(member, name) {
				return fmt.Errorf("%w: a member's name is in the wrong case", ErrMalformed)
			}
		}
	}
	return nil
}

// Has reports whether the object has the member, and not as null.
func (o Object) Has(name string) bool {
	raw, ok := o[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// Object returns an object member.
func (o Object) Object(name string) (Object, error) {
	if !o.Has(name) {
		return nil, fmt.Errorf("%w: %s is missing", ErrMalformed, name)
	}
	var member Object
	if err := json.Unmarshal(o[name], &member); err != nil {
		return nil, fmt.Errorf("%w: %s is not an object", ErrMalformed, name)
	}
	return member, nil
}

// String returns a string member, or "" when it is absent or null.
func (o Object) String(name string) (string, error) {
	if !o.Has(name) {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(o[name], &s); err != nil {
		return "", fmt.Errorf("%w: %s is not a string", ErrMalformed, name)
	}
	return s, nil
}

type frame struct {
	names     map[string]bool // of an object, folded; nil for an array
	expectKey bool
}

func check(document []byte) error {
	if !utf8.Valid(document) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var stack []frame
	for {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("%w: not valid JSON", ErrMalformed)
		}
		top := len(stack) - 1
		if name, isString := token.(string); isString && top >= 0 && stack[top].expectKey {
			folded := strings.ToLower(strings.ToUpper(name))
			if stack[top].names[folded] {
				return fmt.Errorf("%w: a member is there twice", ErrMalformed)
			}
			stack[top].names[folded] = true
			stack[top].expectKey = false
			continue
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			if len(stack) == MaxDepth {
				return fmt.Errorf("%w: nested too deep", ErrMalformed)
			}
			if top >= 0 && stack[top].names != nil {
				stack[top].expectKey = true // once this value ends
			}
			next := frame{}
			if token == json.Delim('{') {
				next = frame{names: map[string]bool{}, expectKey: true}
			}
			stack = append(stack, next)
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
		default:
			if top >= 0 && stack[top].names != nil {
				stack[top].expectKey = true
			}
		}
		if len(stack) == 0 {
			break
		}
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the document", ErrMalformed)
	}
	return nil
}
