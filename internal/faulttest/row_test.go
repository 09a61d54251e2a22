package faulttest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/faulttest"
)

const (
	ada = `{"pk":{"S":"ada"},"v":{"N":"1"},"n":{"N":"7"}}`
	bob = `{"pk":{"S":"bob"},"v":{"N":"1"}}`
)

func row(t *testing.T, text string) (r faulttest.Row) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// Every edit does what it says in every place where DynamoDB puts rows, and leaves all else of an answer alone.
func TestEdits(t *testing.T) {
	query := func(rows, count string) string {
		return `{"ConsumedCapacity":{"CapacityUnits":1.5},"Count":` + count + `,"Items":[` + rows + `],"ScannedCount":` + count + `}`
	}
	upper := faulttest.Each(func(r faulttest.Row) faulttest.Row { return r.With("pk", `{"S":"`+r.Text("pk")+`!"}`) })
	for _, c := range []struct {
		name             string
		edit             faulttest.Edit
		several, one, no string // Items, Attributes and nothing
	}{
		{"missing", faulttest.Missing("n"), query(`{"pk":{"S":"ada"},"v":{"N":"1"}},`+bob, "2"), `{"Attributes":{"pk":{"S":"ada"},"v":{"N":"1"}}}`, `{}`},
		{"retyped", faulttest.Retyped("n"), query(`{"n":{"NS":["1"]},"pk":{"S":"ada"},"v":{"N":"1"}},`+bob, "2"), `{"Attributes":{"n":{"NS":["1"]},"pk":{"S":"ada"},"v":{"N":"1"}}}`, `{}`},
		{"future", faulttest.Future(), query(`{"n":{"N":"7"},"pk":{"S":"ada"},"v":{"N":"2"}},{"pk":{"S":"bob"},"v":{"N":"2"}}`, "2"), `{"Attributes":{"n":{"N":"7"},"pk":{"S":"ada"},"v":{"N":"2"}}}`, `{}`},
		{"each", upper, query(`{"n":{"N":"7"},"pk":{"S":"ada!"},"v":{"N":"1"}},{"pk":{"S":"bob!"},"v":{"N":"1"}}`, "2"), `{"Attributes":{"n":{"N":"7"},"pk":{"S":"ada!"},"v":{"N":"1"}}}`, `{}`},
		{"twice", faulttest.Twice(), query(ada+","+bob+","+ada+","+bob, "4"), `{"Attributes":` + ada + `}`, `{}`},
		{"instead", faulttest.Instead(row(t, bob)), query(bob, "1"), `{"Attributes":` + bob + `}`, `{}`},
		{"instead nothing", faulttest.Instead(), query("", "0"), `{}`, `{}`},
		{"also", faulttest.Also(row(t, ada)), query(ada+","+bob+","+ada, "3"), `{"Attributes":` + ada + `}`, `{}`},
	} {
		rewrite := faulttest.Rows(c.edit)
		for _, pair := range []struct{ what, before, want string }{
			{"several", query(ada+","+bob, "2"), c.several},
			{"one", `{"Attributes":` + ada + `}`, c.one},
			{"none", `{}`, c.no},
			{"no JSON", `<html>`, `<html>`},
		} {
			got := string(rewrite([]byte(pair.before)))
			if json.Valid([]byte(pair.want)) {
				got, pair.want = canonical(t, got), canonical(t, pair.want)
			}
			if diff := cmp.Diff(pair.want, got); diff != "" {
				t.Errorf("%s, %s: %s", c.name, pair.what, diff)
			}
		}
	}
	if got, want := string(faulttest.Rows(faulttest.Missing("n"))([]byte(`{"Item":`+ada+`}`))), `{"Item":{"pk":{"S":"ada"},"v":{"N":"1"}}}`; got != want {
		t.Errorf("of GetItem: %s, want %s", got, want)
	}
}

func canonical(t *testing.T, text string) string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	sorted, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(sorted)
}

// The rows of an answer are found wherever they are.
func TestRowsOf(t *testing.T) {
	for _, c := range []struct {
		answer string
		want   []faulttest.Row
	}{
		{`{"Items":[` + ada + `,` + bob + `],"Count":2}`, []faulttest.Row{row(t, ada), row(t, bob)}},
		{`{"Item":` + ada + `}`, []faulttest.Row{row(t, ada)}},
		{`{"Attributes":` + bob + `}`, []faulttest.Row{row(t, bob)}},
		{`{"CancellationReasons":[{"Code":"None"},{"Code":"ConditionalCheckFailed","Item":` + ada + `}]}`, []faulttest.Row{row(t, ada)}},
		{`{}`, nil},
		{`<html>`, nil},
	} {
		if diff := cmp.Diff(c.want, faulttest.RowsOf([]byte(c.answer))); diff != "" {
			t.Errorf("%s: %s", c.answer, diff)
		}
	}
	if diff := cmp.Diff([]string{"n", "pk", "v"}, row(t, ada).Names()); diff != "" {
		t.Error(diff)
	}
	if got := row(t, ada).Text("n"); got != "" {
		t.Errorf("a number as a text: %q", got)
	}
}

// An edited answer reaches the client with a checksum that fits; the backend knows nothing of it.
func TestWrongRow(t *testing.T) {
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"Item":` + ada + `}`)) }))
	t.Cleanup(b.Close)
	p, c := faulttest.New(t, b.URL), client(t)
	p.Inject(faulttest.Fault{Operation: "GetItem", Count: 1, Rewrite: faulttest.Rows(faulttest.Instead(row(t, bob)))})
	for _, want := range []string{`{"Item":` + bob + `}`, `{"Item":` + ada + `}`} {
		g := ask(t.Context(), c, p, "GetItem", put)
		if g.err != nil || g.status != 200 || g.body != want {
			t.Errorf("%d %s (%v), want %s", g.status, g.body, g.err, want)
		}
	}
}

// A condition that is said to have failed: of one write and of a transaction, before it was applied and after, without a row
// and with a wrong one.
func TestConditionFailed(t *testing.T) {
	b := newBackend(t)
	p, c := faulttest.New(t, b.URL), client(t)
	for _, kind := range []faulttest.Kind{faulttest.ConditionFailed, faulttest.ConditionFailedAfter} {
		forwarded := 0
		if kind == faulttest.ConditionFailedAfter {
			forwarded = 1
		}
		for _, shown := range []faulttest.Row{nil, row(t, bob)} {
			var want []faulttest.Row
			if shown != nil {
				want = []faulttest.Row{shown}
			}
			lift := p.Inject(faulttest.Fault{Kind: kind, Row: shown})
			single := ask(t.Context(), c, p, "PutItem", put)
			if n := b.took(); n != forwarded {
				t.Errorf("%v: the backend saw %d requests", kind, n)
			}
			if single.status != 400 || single.errorType() != "ConditionalCheckFailedException" {
				t.Errorf("%v: %d %s (%v)", kind, single.status, single.body, single.err)
			}
			single.summed(t)
			if diff := cmp.Diff(want, faulttest.RowsOf([]byte(single.body))); diff != "" {
				t.Errorf("%v: %s", kind, diff)
			}
			several := ask(t.Context(), c, p, "TransactWriteItems", transaction)
			b.took()
			var reasons struct{ CancellationReasons []struct{ Code string } }
			if err := json.Unmarshal([]byte(several.body), &reasons); err != nil || several.errorType() != "TransactionCanceledException" || len(reasons.CancellationReasons) != 3 {
				t.Fatalf("%v: %d %s (%v)", kind, several.status, several.body, err)
			}
			for _, reason := range reasons.CancellationReasons {
				if reason.Code != "ConditionalCheckFailed" {
					t.Errorf("%v: %s", kind, several.body)
				}
			}
			if n := len(faulttest.RowsOf([]byte(several.body))); n != 3*len(want) {
				t.Errorf("%v: %d rows", kind, n)
			}
			lift()
		}
	}
}
