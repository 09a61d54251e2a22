package strictjson_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

func TestParse(t *testing.T) {
	accepted := []string{
		`{}`, `{"a":1,"b":{"a":1}}`, `{"a":[{"b":1},{"b":2}],"c":"a"}`, ` {"a":null} `, `{"a":"b","b":"a"}`,
		`{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`,
	}
	for _, document := range accepted {
		if _, err := strictjson.Parse([]byte(document)); err != nil {
			t.Errorf("%s: %v", document, err)
		}
	}
	refused := map[string]string{
		``:                             "not JSON",
		`[]`:                           "not a JSON object",
		`null`:                         "not a JSON object",
		`"a"`:                          "not a JSON object",
		`{"a":1,"a":1}`:                "twice",
		`{"origin":1,"Origin":1}`:      "twice",
		`{"x":{"a":1,"A":2}}`:          "twice",
		`{"x":[0,{"a":[],"A":{}}]}`:    "twice",
		`{"k":1,"` + "\u212a" + `":1}`: "twice", // the Kelvin sign folds to k
		`{"a":1}{"a":1}`:               "not JSON",
		`{"a":1} x`:                    "not JSON",
		`{"a":1`:                       "not JSON",
		"{\"a\":\"\xff\"}":             "UTF-8",
		"\ufeff{}":                     "not JSON",
		`{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`:       "deeper",
		`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: "not JSON",
	}
	for document, why := range refused {
		_, err := strictjson.Parse([]byte(document))
		if !errors.Is(err, passkey.BodyMalformed) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.40q: got %v, want %q", document, err, why)
		}
	}
}

func TestKnown(t *testing.T) {
	o, err := strictjson.Parse([]byte(`{"Origin":"x","other":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := strictjson.Read(o, "origin").Err(); !errors.Is(err, passkey.BodyMalformed) {
		t.Errorf("case variant: %v", err)
	}
	r := strictjson.Read(o, "Origin", "type")
	if r.Text("Origin") != "x" || r.Has("origin") || r.Err() != nil {
		t.Errorf("exact name: %v", r.Err())
	}
}

func TestReader(t *testing.T) {
	const document = `{"s":"x","n":1,"null":null,"b":true,"o":{"s":"y"},"a":["p","q"],"mixed":["p",1],"holes":["p",null],"id":"AQI","padded":"AQI=","loose":"AQJ","broken":"AQ\nI"}`
	read := func(use func(*strictjson.Reader) any) (any, error) {
		o, err := strictjson.Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		r := strictjson.Read(o, "s", "n", "null", "b", "o", "a", "mixed", "holes", "id", "padded", "loose", "broken", "none")
		value := use(r)
		return value, r.Err()
	}
	for name, test := range map[string]struct {
		use  func(*strictjson.Reader) any
		want any
	}{
		"text":                   {func(r *strictjson.Reader) any { return r.Text("s") }, "x"},
		"optional text":          {func(r *strictjson.Reader) any { return r.OptionalText("s") }, "x"},
		"optional text, null":    {func(r *strictjson.Reader) any { return r.OptionalText("null") }, ""},
		"optional text, missing": {func(r *strictjson.Reader) any { return r.OptionalText("none") }, ""},
		"flag":                   {func(r *strictjson.Reader) any { return r.Flag("b") }, true},
		"flag, missing":          {func(r *strictjson.Reader) any { return r.Flag("none") }, false},
		"bytes":                  {func(r *strictjson.Reader) any { return string(r.Bytes("id")) }, "\x01\x02"},
		"optional bytes, null":   {func(r *strictjson.Reader) any { return string(r.OptionalBytes("null")) }, ""},
		"object":                 {func(r *strictjson.Reader) any { return string(r.Object("o")["s"]) }, `"y"`},
		"texts":                  {func(r *strictjson.Reader) any { return strings.Join(r.Texts("a"), ",") }, "p,q"},
		"texts, missing":         {func(r *strictjson.Reader) any { return len(r.Texts("none")) }, 0},
		"raw":                    {func(r *strictjson.Reader) any { return string(r.Raw("o")) }, `{"s":"y"}`},
		"given": {func(r *strictjson.Reader) any {
			return r.Given("s") && !r.Given("null") && !r.Given("none") && r.Has("null")
		}, true},
	} {
		if got, err := read(test.use); err != nil || got != test.want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	for name, use := range map[string]func(*strictjson.Reader) any{
		"text, missing":        func(r *strictjson.Reader) any { return r.Text("none") },
		"text, null":           func(r *strictjson.Reader) any { return r.Text("null") },
		"text, number":         func(r *strictjson.Reader) any { return r.Text("n") },
		"optional text, other": func(r *strictjson.Reader) any { return r.OptionalText("n") },
		"flag, null":           func(r *strictjson.Reader) any { return r.Flag("null") },
		"flag, text":           func(r *strictjson.Reader) any { return r.Flag("s") },
		"bytes, padded":        func(r *strictjson.Reader) any { return r.Bytes("padded") },
		"bytes, loose bits":    func(r *strictjson.Reader) any { return r.Bytes("loose") },
		"bytes, line break":    func(r *strictjson.Reader) any { return r.Bytes("broken") },
		"bytes, missing":       func(r *strictjson.Reader) any { return r.Bytes("none") },
		"object, null":         func(r *strictjson.Reader) any { return r.Object("null") },
		"object, text":         func(r *strictjson.Reader) any { return r.Object("s") },
		"texts, mixed":         func(r *strictjson.Reader) any { return r.Texts("mixed") },
		"texts, holes":         func(r *strictjson.Reader) any { return r.Texts("holes") },
		"texts, null":          func(r *strictjson.Reader) any { return r.Texts("null") },
		"raw, missing":         func(r *strictjson.Reader) any { return r.Raw("none") },
		"raw, null":            func(r *strictjson.Reader) any { return r.Raw("null") },
	} {
		if _, err := read(use); !errors.Is(err, passkey.BodyMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",null]}}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		o, err := strictjson.Parse(document)
		if err != nil {
			if !errors.Is(err, passkey.BodyMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := strictjson.Parse(again); err != nil {
			t.Fatalf("accepted %q, refused its canonical form %q: %v", document, again, err)
		}
	})
}

// FuzzAgainstDecoder holds what Parse says of a document to what encoding/json's own decoder finds in it, token by token.
func FuzzAgainstDecoder(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` {"a":1 , "b" : [ 1,{"a":[]} ,"x"] } `, `{"a":1,"\u0061":2}`, `{"A":1,"a":2}`, `{"x":{"a":1,"\u0041":2}}`, `[{"a":1,"a":2}]`, `"\""`,
		`{"\ud800":1,"\udfff":2}`, `{"a":"\\","b":"\"}"}`, `{"k":1,"` + "\u212a" + `":1}`, `{"a":-1.5e+3,"b":true,"c":null}`, `{"":{"":{"":0}}}`,
		`{"a":` + strings.Repeat("[", 31) + strings.Repeat("]", 31) + `}`, `{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`,
		`{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":0,"k":0,"l":0,"m":0,"n":0,"o":0,"p":0,"q":0,"r":0,"R":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var want map[string]json.RawMessage
		good := utf8.Valid(document) && json.Valid(document) && json.Unmarshal(document, &want) == nil && want != nil
		if good {
			decoder := json.NewDecoder(bytes.NewReader(document))
			decoder.UseNumber()
			good = once(decoder, strictjson.MaxDepth)
		}
		got, err := strictjson.Parse(document)
		if (err == nil) != good {
			t.Fatalf("%q: %v, and encoding/json finds it good: %v", document, err, good)
		}
		if err != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d members, want %d", document, len(got), len(want))
		}
		for name, raw := range want {
			if !bytes.Equal(got[name], raw) {
				t.Errorf("%q: member %q is %q, want %q", document, name, got[name], raw)
			}
			var text string
			var object map[string]json.RawMessage
			isText := len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &text) == nil
			isObject := json.Unmarshal(raw, &object) == nil && object != nil
			r := strictjson.Read(got, name)
			if read := r.Text(name); (r.Err() == nil) != isText || isText && read != text {
				t.Errorf("%q: member %q as text: %q, %v", document, name, read, r.Err())
			}
			r = strictjson.Read(got, name)
			if read := r.Object(name); (r.Err() == nil) != isObject || len(read) != len(object) {
				t.Errorf("%q: member %q as an object: %v, %v", document, name, read, r.Err())
			}
			if value, err := base64.RawURLEncoding.DecodeString(text); isText {
				r = strictjson.Read(got, name)
				canonical := err == nil && base64.RawURLEncoding.EncodeToString(value) == text
				if read := r.Bytes(name); (r.Err() == nil) != canonical || canonical && !bytes.Equal(read, value) {
					t.Errorf("%q: member %q as bytes: %q, %v", document, name, read, r.Err())
				}
			}
		}
	})
}

// once reads one value and tells whether no object in it names a member twice and nothing nests deeper.
func once(decoder *json.Decoder, depth int) bool {
	token, err := decoder.Token()
	if err != nil {
		return false
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return true
	}
	if depth == 0 {
		return false
	}
	names := map[string]bool{}
	for decoder.More() {
		if delim == '{' {
			token, err := decoder.Token()
			name, ok := token.(string)
			if err != nil || !ok || names[passkey.FoldName(name)] {
				return false
			}
			names[passkey.FoldName(name)] = true
		}
		if !once(decoder, depth-1) {
			return false
		}
	}
	_, err = decoder.Token()
	return err == nil
}
