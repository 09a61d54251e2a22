package strictjson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

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
		``:                             "not valid",
		`[]`:                           "not an object",
		`null`:                         "not an object",
		`"a"`:                          "not an object",
		`{"a":1,"a":1}`:                "twice",
		`{"origin":1,"Origin":1}`:      "twice",
		`{"x":{"a":1,"A":2}}`:          "twice",
		`{"x":[0,{"a":[],"A":{}}]}`:    "twice",
		`{"k":1,"` + "\u212a" + `":1}`: "twice", // the Kelvin sign folds to k
		`{"a":1}{"a":1}`:               "follows",
		`{"a":1} x`:                    "follows",
		`{"a":1`:                       "not valid",
		"{\"a\":\"\xff\"}":             "UTF-8",
		"\ufeff{}":                     "not valid",
		`{"a":` + strings.Repeat("[", 32) + strings.Repeat("]", 32) + `}`:       "deep",
		`{"a":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`: "deep",
	}
	for document, why := range refused {
		_, err := strictjson.Parse([]byte(document))
		if !errors.Is(err, strictjson.ErrMalformed) || !strings.Contains(err.Error(), why) {
			t.Errorf("%.40q: got %v, want %q", document, err, why)
		}
	}
}

func TestKnown(t *testing.T) {
	o, err := strictjson.Parse([]byte(`{"Origin":"x","other":1}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Known("origin"); !errors.Is(err, strictjson.ErrMalformed) {
		t.Errorf("case variant: %v", err)
	}
	if err := o.Known("Origin", "type"); err != nil {
		t.Errorf("exact name: %v", err)
	}
	if s, err := o.String("origin"); s != "" || err != nil {
		t.Errorf("origin = %q, %v: found by another spelling", s, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,"x",null]}}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		o, err := strictjson.Parse(document)
		if err != nil {
			if !errors.Is(err, strictjson.ErrMalformed) {
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
