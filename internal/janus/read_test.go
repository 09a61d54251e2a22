package janus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/janus"
	"github.com/stepgate/stepgate/internal/passkey"
)

var opts = janus.Options{CheckKey: ceremony.CheckKey, Wait: impatient}

// read reads a table of these rows, one a page.
func read(t *testing.T, opts janus.Options, rows ...janus.Row) *janus.Batch {
	t.Helper()
	table := new(pages)
	for _, row := range rows {
		table.pages = append(table.pages, []janus.Row{row})
	}
	batch, err := janus.Read(t.Context(), table, opts)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// users says who became who, with which passkeys.
func users(batch *janus.Batch) (list []string) {
	for _, a := range batch.Accounts {
		line := a.User.Name + "/" + string(a.User.Handle)
		for i, p := range a.Passkeys {
			line += fmt.Sprintf(" %q", p.Name)
			if string(a.User.Passkeys[i].ID) != string(p.ID) || a.User.Passkeys[i].Folded != passkey.FoldName(p.Name) {
				line += "!"
			}
		}
		list = append(list, line)
	}
	return list
}

func refusals(batch *janus.Batch) (list []string) {
	for _, r := range batch.Refused {
		list = append(list, r.String())
	}
	return list
}

func at(time string) func(janus.Row) { return set("registrationTime", s(time)) }
func named(name string) func(janus.Row) {
	return set("passkeyName", s(name))
}

func TestRead(t *testing.T) {
	with := opts
	with.Suffix = "@example.com"
	batch := read(t, with,
		newRow("bob", "bob's passkey: 1", named("Key"), at("2025-06-02T00:00:00Z")),
		newRow("ada", "ada's passkey: 1"),
		newRow("bob", "bob's passkey: 2", named("KEY"), at("2025-06-01T00:00:00Z"), set("colour", s("red"))),
		newRow("eve", "eve's passkey: 1", without("credential")),
	)
	same(t, users(batch), []string{`ada@example.com/ada "Laptop"`, `bob@example.com/bob "KEY" "Key 2"`})
	same(t, refusals(batch), []string{`username "eve", credentialId "ZXZlJ3MgcGFzc2tleTogMQ": credential is missing`})
	if batch.Rows != 4 || batch.Renamed != 1 || len(batch.Unknown) != 1 || batch.Unknown[0] != "colour" {
		t.Errorf("%+v", batch)
	}
	for _, a := range batch.Accounts {
		if a.User.Version != 1 || a.User.Epoch != (passkey.Epoch{}) || a.Reach() != passkey.Verified {
			t.Errorf("%+v", a)
		}
	}
}

func TestReadNames(t *testing.T) {
	long := strings.Repeat("é", 64)
	batch := read(t, opts,
		newRow("ada", "ada's passkey: 1", named("  Key "), at("2025-01-01T00:00:01Z")),
		newRow("ada", "ada's passkey: 2", named("key"), at("2025-01-01T00:00:02Z")),
		newRow("ada", "ada's passkey: 3", named("key 2"), at("2025-01-01T00:00:03Z")),
		newRow("ada", "ada's passkey: 4", named("\u202egnp.exe"), at("2025-01-01T00:00:04Z")),
		newRow("ada", "ada's passkey: 5", without("passkeyName"), at("2025-01-01T00:00:05Z")),
		newRow("ada", "ada's passkey: 6", named(long), at("2025-01-01T00:00:06Z")),
		newRow("ada", "ada's passkey: 7", named(long), at("2025-01-01T00:00:07Z")),
		newRow("ada", "ada's passkey: 8", named(long+"é"), at("2025-01-01T00:00:08Z")),
	)
	same(t, users(batch), []string{fmt.Sprintf(`ada/ada "Key" "key 2" "key 2 2" "Passkey" "Passkey 2" %q %q "Passkey 3"`, long, long[:2*62]+" 2")})
	if batch.Renamed != 6 || len(batch.Refused) != 0 {
		t.Errorf("%d renamed, refused %q", batch.Renamed, refusals(batch))
	}
}

// What concerns several rows is refused on all of them, in whatever order they come.
func TestReadConflicts(t *testing.T) {
	fold := opts
	fold.Fold = strings.ToLower
	for name, test := range map[string]struct {
		opts    janus.Options
		rows    []janus.Row
		users   []string
		refused []string
	}{
		"two names that become one": {fold,
			[]janus.Row{newRow("Ada", "passkey of Ada.."), newRow("ada", "passkey of ada.."), newRow("Bob", "passkey of Bob..")},
			[]string{`bob/Bob "Laptop"`},
			[]string{
				`username "Ada", credentialId "cGFzc2tleSBvZiBBZGEuLg": it would be the user "ada", as "ada" would`,
				`username "ada", credentialId "cGFzc2tleSBvZiBhZGEuLg": it would be the user "ada", as "Ada" would`,
			},
		},
		"not without folding": {opts,
			[]janus.Row{newRow("Ada", "passkey of Ada.."), newRow("ada", "passkey of ada..")},
			[]string{`Ada/Ada "Laptop"`, `ada/ada "Laptop"`}, nil,
		},
		"a zombie's name is nobody's": {fold,
			[]janus.Row{newRow("Ada", "passkey of Ada..", without("credential")), newRow("ada", "passkey of ada..")},
			[]string{`ada/ada "Laptop"`},
			[]string{`username "Ada", credentialId "cGFzc2tleSBvZiBBZGEuLg": credential is missing`},
		},
		"one id of two people": {opts,
			[]janus.Row{newRow("ada", "passkey of both."), newRow("ada", "passkey of ada.."), newRow("bob", "passkey of both.")},
			[]string{`ada/ada "Laptop"`},
			[]string{
				`username "ada", credentialId "cGFzc2tleSBvZiBib3RoLg": the same credentialId is there for "bob"`,
				`username "bob", credentialId "cGFzc2tleSBvZiBib3RoLg": the same credentialId is there for "ada"`,
			},
		},
		"a name that no first factor hands over": {opts,
			[]janus.Row{newRow("ad\na", "passkey of ada..")}, nil,
			[]string{`username "ad\na", credentialId "cGFzc2tleSBvZiBhZGEuLg": the user "ad\na" can't be imported: user is empty, too long, not UTF-8, or holds control characters`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range len(test.rows) {
				test.rows = append(test.rows[1:], test.rows[0])
				batch := read(t, test.opts, test.rows...)
				same(t, users(batch), test.users)
				same(t, refusals(batch), test.refused)
			}
		})
	}
}

func TestReadTooManyPasskeys(t *testing.T) {
	var rows []janus.Row
	for i := range 101 {
		rows = append(rows, newRow("ada", fmt.Sprintf("ada's passkey %03d", i)))
	}
	batch := read(t, opts, rows...)
	if len(batch.Accounts) != 0 || len(batch.Refused) != 101 || !strings.Contains(batch.Refused[100].Reason, "it has 101 passkeys; 100 are the most") {
		t.Errorf("%d refused: %q", len(batch.Refused), refusals(batch)[0])
	}
	if batch = read(t, opts, rows[1:]...); len(batch.Accounts) != 1 || batch.Renamed != 99 {
		t.Errorf("%d users, %d renamed", len(batch.Accounts), batch.Renamed)
	}
}

// A table that somebody filled to keep the import busy takes no longer than any other of its size: with one user, with one
// credential id, with names that become one. Quadratic, each took minutes.
func TestReadFullTable(t *testing.T) {
	const rows = 20_000
	constant := opts
	constant.CheckKey = func([]byte) error { return nil }
	constant.Fold = func(name string) string { return name[:1] }
	unfolded := constant
	unfolded.Fold = nil
	for name, test := range map[string]struct {
		opts   janus.Options
		row    func(i int) janus.Row
		reason string
	}{
		"one user": {unfolded, func(i int) janus.Row { return newRow("ada", fmt.Sprintf("ada's passkey %06d", i)) }, "it has 20000 passkeys; 100 are the most"},
		"one id": {unfolded, func(i int) janus.Row { return newRow(fmt.Sprintf("u%06d", i), "everybody's passkey") },
			`the same credentialId is there for "u000000", "u000001", "u000002", 19996 more`},
		"one name": {constant, func(i int) janus.Row { return newRow(fmt.Sprintf("u%06d", i), fmt.Sprintf("a passkey %06d", i)) },
			`it would be the user "u", as "u000000", "u000001", "u000002", 19996 more would`},
	} {
		t.Run(name, func(t *testing.T) {
			table := &pages{pages: make([][]janus.Row, 1)}
			for i := range rows {
				table.pages[0] = append(table.pages[0], test.row(i))
			}
			began := time.Now()
			batch, err := janus.Read(t.Context(), table, test.opts)
			if err != nil || len(batch.Accounts) != 0 || len(batch.Refused) != rows || !strings.Contains(batch.Refused[rows-1].Reason, test.reason) {
				t.Fatalf("%v, %d users, %d refused: %.300s", err, len(batch.Accounts), len(batch.Refused), batch.Refused[rows-1])
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	// Who comes among the first, and how many more there are.
	var few []janus.Row
	for i := range 5 {
		few = append(few, newRow(fmt.Sprintf("u%d", i), "everybody's passkey"))
	}
	for i, r := range read(t, opts, few...).Refused {
		want := []string{`"u1", "u2", "u3", 1 more`, `"u0", "u2", "u3", 1 more`, `"u0", "u1", "u3", 1 more`, `"u0", "u1", "u2", 1 more`, `"u0", "u1", "u2", 1 more`}[i]
		if r.Reason != "the same credentialId is there for "+want {
			t.Errorf("%s: %s", r.Username, r.Reason)
		}
	}
}

// What a row says can't play with a terminal, nor fill memory.
func TestRefusedIsVisible(t *testing.T) {
	batch := read(t, opts, newRow("\x1b[2J\u202e"+strings.Repeat("é", 1<<20), "ada's passkey: 1"))
	got := refusals(batch)[0]
	if len(got) > 400 || strings.ContainsAny(got, "\x1b\u202e") || !strings.Contains(got, `username "\x1b[2J\u202eéé`) || len(batch.Refused[0].Username) > 500 {
		t.Errorf("%d %.200s", len(got), got)
	}
}

func TestReadGoesOn(t *testing.T) {
	table := &pages{pages: [][]janus.Row{{newRow("ada", "ada's passkey: 1")}, {}, {newRow("bob", "bob's passkey: 1")}}}
	tries := map[int]int{}
	table.before = func(page int) error {
		if tries[page]++; tries[page] < 5 {
			return fmt.Errorf("throttled: %w", passkey.StoreUnavailable)
		}
		return nil
	}
	with := opts
	var seen []string
	with.Progress = func(done fmt.Stringer) { seen = append(seen, done.String()) }
	batch, err := janus.Read(t.Context(), table, with)
	if err != nil || len(batch.Accounts) != 2 || tries[2] != 5 {
		t.Fatal(err, tries)
	}
	same(t, seen, []string{"1 row", "1 row", "2 rows", "2 rows"})
}

func TestReadFails(t *testing.T) {
	gone := errors.New("there is no such table")
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	for name, test := range map[string]struct {
		before func() error
		want   error
		tries  int
	}{
		"for good":    {func() error { return gone }, gone, 1},
		"for long":    {func() error { return passkey.StoreUnavailable }, passkey.StoreUnavailable, 12},
		"interrupted": {func() error { cancel(enough); return passkey.StoreUnavailable }, enough, 1},
	} {
		tries := 0
		table := &pages{before: func(int) error { tries++; return test.before() }}
		running := t.Context()
		if test.want == enough {
			running = ctx
		}
		if batch, err := janus.Read(running, table, opts); !errors.Is(err, test.want) || batch != nil || tries != test.tries {
			t.Errorf("%s: %v after %d tries", name, err, tries)
		}
	}
}

func TestReadBoundsTables(t *testing.T) {
	page := make([]janus.Row, 1000)
	endless := new(pages)
	for range janus.MaxRows/len(page) + 1 {
		endless.pages = append(endless.pages, page)
	}
	if _, err := janus.Read(t.Context(), endless, opts); err == nil || !strings.Contains(err.Error(), "more than 100000 rows") {
		t.Error(err)
	}
}
