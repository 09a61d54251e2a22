package dynamostore

import (
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
)

// The attribute types that records are made of.

func text(s string) types.AttributeValue   { return &types.AttributeValueMemberS{Value: s} }
func binary(b []byte) types.AttributeValue { return &types.AttributeValueMemberB{Value: b} }
func flag(b bool) types.AttributeValue     { return &types.AttributeValueMemberBOOL{Value: b} }
func number[N int | int64 | uint32 | uint64](n N) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}
func instant(t time.Time) types.AttributeValue { return text(t.UTC().Format(time.RFC3339Nano)) }

var errMalformed = errors.New("unreadable record: an attribute is missing, mistyped, out of range or unknown")

// errMisplaced is what a table that somebody edited, or a bug here, looks like.
var errMisplaced = errors.New("unreadable record: it belongs under another key")

// errImporting is what an import leaves that was cut off.
var errImporting = errors.New("the user is not imported completely: run the same `stepgate import` again")

// reading takes an item apart. Each method takes one attribute out; the first that is not what it must be makes the
// whole item unreadable, and so does one that nobody asked for. Errors name no values.
type reading struct {
	rest attributes
	bad  bool
}

func readingOf(item attributes) *reading {
	rest := make(attributes, len(item))
	for name, value := range item {
		rest[name] = value
	}
	return &reading{rest: rest}
}

// take takes an attribute out; nil when there is none.
func take[T types.AttributeValue](r *reading, name string) (value T, found bool) {
	a, found := r.rest[name]
	if !found {
		return value, false
	}
	delete(r.rest, name)
	if value, found = a.(T); !found {
		r.bad = true
	}
	return value, found
}

func (r *reading) text(name string) string {
	value := r.optionalText(name)
	r.bad = r.bad || value == ""
	return value
}

// optionalText is of an attribute that is left out when it is empty.
func (r *reading) optionalText(name string) string {
	value, found := take[*types.AttributeValueMemberS](r, name)
	if !found {
		return ""
	}
	r.bad = r.bad || value.Value == "" || !utf8.ValidString(value.Value)
	return value.Value
}

func (r *reading) binary(name string) []byte {
	value := r.optionalBinary(name)
	r.bad = r.bad || len(value) == 0
	return value
}

func (r *reading) optionalBinary(name string) []byte {
	value, found := take[*types.AttributeValueMemberB](r, name)
	if !found {
		return nil
	}
	r.bad = r.bad || len(value.Value) == 0
	return value.Value
}

// fixed fills an array's slice.
func (r *reading) fixed(name string, dst []byte) {
	value := r.binary(name)
	r.bad = r.bad || len(value) != len(dst)
	copy(dst, value)
}

func (r *reading) flag(name string) bool {
	value, found := take[*types.AttributeValueMemberBOOL](r, name)
	if !found {
		r.bad = true
		return false
	}
	return value.Value
}

// optionalFlag is of an attribute that is left out when it is false.
func (r *reading) optionalFlag(name string) bool {
	value, found := take[*types.AttributeValueMemberBOOL](r, name)
	if !found {
		return false
	}
	r.bad = r.bad || !value.Value
	return value.Value
}

// optionalLevel is of an attribute that is left out where there is none.
func (r *reading) optionalLevel(name string) passkey.Level {
	value := r.optionalText(name)
	if value == "" {
		return 0
	}
	level, err := passkey.ParseLevel(value)
	r.bad = r.bad || err != nil
	return level
}

func (r *reading) number(name string, bits int) uint64 {
	value, found := take[*types.AttributeValueMemberN](r, name)
	if !found {
		r.bad = true
		return 0
	}
	n, err := strconv.ParseUint(value.Value, 10, bits)
	r.bad = r.bad || err != nil
	return n
}

func (r *reading) instant(name string) time.Time {
	at := r.optionalInstant(name)
	r.bad = r.bad || at.IsZero()
	return at
}

func (r *reading) optionalInstant(name string) time.Time {
	value := r.optionalText(name)
	if value == "" {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, value)
	r.bad = r.bad || err != nil || at.UTC().Format(time.RFC3339Nano) != value
	return at.UTC()
}

// list takes a list out, which may be empty.
func (r *reading) list(name string) []types.AttributeValue {
	value, found := take[*types.AttributeValueMemberL](r, name)
	if !found {
		r.bad = true
		return nil
	}
	return value.Value
}

// optionalList is of an attribute that is left out when the list is empty.
func (r *reading) optionalList(name string) []types.AttributeValue {
	value, found := take[*types.AttributeValueMemberL](r, name)
	if !found {
		return nil
	}
	r.bad = r.bad || len(value.Value) == 0
	return value.Value
}

// version takes the record's version out, before anything else: another version may mean anything.
func (r *reading) version() error {
	switch v, ok := r.rest["v"].(*types.AttributeValueMemberN); {
	case !ok:
		return errors.New("unreadable record: it has no version")
	case v.Value == strconv.Itoa(importing):
		return errImporting
	case v.Value != strconv.Itoa(recordVersion):
		return fmt.Errorf("unreadable record: its version is %.20q and this Stepgate knows %d only", v.Value, recordVersion)
	}
	delete(r.rest, "v")
	return nil
}

// done tells whether everything was there, well typed, and nothing else.
func (r *reading) done() error {
	if r.bad || len(r.rest) > 0 {
		return errMalformed
	}
	return nil
}
