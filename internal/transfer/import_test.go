package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

func report(imported, passkeys, there int) transfer.Report {
	return transfer.Report{Imported: transfer.Counts{Users: imported, Passkeys: passkeys}, There: there}
}

// imports fails unless importing goes as it should, and as the rehearsal said.
func imports(t *testing.T, s transfer.Store, text []byte, want transfer.Report) {
	t.Helper()
	rehearsed, err := load(t.Context(), transfer.Rehearse, s, bytes.NewReader(text), opts)
	must(t, err)
	got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(got, rehearsed); diff != "" {
		t.Errorf("the rehearsal said something else (-import +rehearsal):\n%s", diff)
	}
}

// Out of one store, into another, and into a third: nothing changes but the epochs. Again: nothing changes at all.
func TestThereAndBack(t *testing.T) {
	accounts := several(100)
	first := exported(t, accounts...)
	there := open(t)
	imports(t, there, first, report(100, 99, 0))
	sameButEpochs(t, all(t, there), accounts)

	var second bytes.Buffer
	_, err := transfer.Export(t.Context(), there, rpID, &second, opts)
	must(t, err)
	if !bytes.Equal(first, second.Bytes()) {
		t.Error("the second export differs from the first")
	}
	back := open(t)
	imports(t, back, second.Bytes(), report(100, 99, 0))
	sameButEpochs(t, all(t, back), all(t, there))

	before := all(t, back)
	imports(t, back, first, report(0, 0, 100))
	if diff := cmp.Diff(before, all(t, back)); diff != "" {
		t.Errorf("importing again changed (-before +after):\n%s", diff)
	}
}

// A rehearsal writes nothing, and needs no store.
func TestRehearse(t *testing.T) {
	s := &unruly{Store: open(t, several(2)...), imported: func(passkey.Account) error { panic("called") }}
	text := exported(t, several(5)...)
	got, err := load(t.Context(), transfer.Rehearse, s, bytes.NewReader(text), opts)
	if diff := cmp.Diff(report(3, 3, 2), got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	got, err = load(t.Context(), transfer.Rehearse, nil, bytes.NewReader(text), opts)
	if diff := cmp.Diff(report(5, 4, 0), got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	s.users = func(int) error { return errAway }
	if _, err := load(t.Context(), transfer.Rehearse, s, bytes.NewReader(text), opts); !errors.Is(err, passkey.StoreUnavailable) {
		t.Errorf("%v", err)
	}
	if _, err := load(t.Context(), transfer.Rehearse, nil, strings.NewReader(header+ada), opts); !errors.Is(err, transfer.ErrCutShort) {
		t.Errorf("%v", err)
	}
}

// Nothing is overwritten: not a user made there, not one who changed since an earlier import, not a passkey of somebody else.
func TestNothingIsOverwritten(t *testing.T) {
	accounts := several(9)
	s := open(t)
	stranger := newAccount("user 004", newPasskey("stranger"))
	stranger.User.Handle = []byte("another handle")
	holder := newAccount("holder", accounts[5].Passkeys[1])
	changed := newAccount("user 007", newPasskey("newer"))
	changed.User.Version = 9
	for _, account := range []passkey.Account{stranger, holder, changed} {
		must(t, s.Import(t.Context(), account))
	}
	want := report(6, 5, 1)
	want.Refused = 2
	want.List = []transfer.Refused{
		{Line: 6, User: "user 004", Reason: "the store has another record of this user (made there, not by this import); it is left as it is"},
		{Line: 7, User: "user 005", Reason: "somebody else holds one of the passkeys"},
	}
	imports(t, s, exported(t, accounts...), want)
	for _, account := range []passkey.Account{stranger, holder, changed} {
		got, err := s.Account(t.Context(), account.User.Name)
		if diff := cmp.Diff(account, got); diff != "" || err != nil {
			t.Errorf("%v (-before +after):\n%s", err, diff)
		}
	}
	if got, err := s.Account(t.Context(), "user 005"); err != nil || got.User.Version != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if text := want.String(); text != "6 users, 5 passkeys; 1 user was there already; 2 users refused" {
		t.Error(text)
	}
}

// Two users of one file with one passkey: an export made while it changed hands. The first gets it, each time.
func TestRepeatedPasskeyInFile(t *testing.T) {
	var text bytes.Buffer
	var accounts listing
	for i := range 30 {
		accounts = append(accounts, newAccount(fmt.Sprintf("user %02d", i), newPasskey("shared")))
	}
	_, err := transfer.Export(t.Context(), accounts, rpID, &text, opts)
	must(t, err)
	want := report(1, 1, 0)
	want.Refused = 29
	for i := 1; i < 30; i++ {
		want.List = append(want.List, transfer.Refused{Line: i + 2, User: accounts[i].User.Name, Reason: "somebody else holds one of the passkeys"})
	}
	imports(t, open(t), text.Bytes(), want)
}

func TestListIsBounded(t *testing.T) {
	var text bytes.Buffer
	accounts := several(1100)
	_, err := transfer.Export(t.Context(), listing(accounts), rpID, &text, opts)
	must(t, err)
	s := &unruly{Store: open(t), imported: func(passkey.Account) error { return passkey.PasskeyExists }}
	got, err := load(t.Context(), transfer.Import, s, &text, opts)
	if err != nil || got.Refused != 1100 || len(got.List) != 1000 {
		t.Errorf("%d refused, %d listed, %v", got.Refused, len(got.List), err)
	}
}

// A malformed line ends the import; everything before it is there, and nothing of it or behind it.
func TestImportUpToMalformedLine(t *testing.T) {
	accounts := several(60)
	lines := bytes.SplitAfter(exported(t, accounts...), []byte("\n"))
	lines[31] = bytes.Replace(lines[31], []byte(`"version":3`), []byte(`"version":0`), 1)
	s := open(t)
	got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(bytes.Join(lines, nil)), opts)
	var line *transfer.LineError
	if !errors.As(err, &line) || line.Line != 32 || got.Imported.Users != 30 {
		t.Errorf("%v, %v", got, err)
	}
	sameButEpochs(t, all(t, s), accounts[:30])
}

// Wherever the file ends, the whole lines are imported, and the rest when it comes.
func TestImportOfCutFile(t *testing.T) {
	accounts := several(5)
	text := exported(t, accounts...)
	for _, n := range []int{0, 10, bytes.IndexByte(text, '\n') + 1, len(text) / 2, len(text) - 30, len(text) - 1} {
		s := open(t)
		got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text[:n]), opts)
		if want := max(0, bytes.Count(text[:n], []byte("\n"))-1); !errors.Is(err, transfer.ErrCutShort) || got.Imported.Users != want {
			t.Errorf("cut at %d: %v, %v", n, got, err)
		}
		_, err = load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
		must(t, err)
		sameButEpochs(t, all(t, s), accounts)
	}
}

// A lost answer is recognised by the epoch that was drawn, not taken for an earlier import.
func TestImportLostAnswers(t *testing.T) {
	accounts := several(20)
	lost := map[string]bool{}
	s := &unruly{Store: open(t)}
	o := opts
	o.Parallel = 1
	s.answered = func(a passkey.Account) error {
		if !lost[a.User.Name] {
			lost[a.User.Name] = true
			return errAway
		}
		return nil
	}
	got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(exported(t, accounts...)), o)
	if diff := cmp.Diff(report(20, 19, 0), got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	sameButEpochs(t, all(t, s), accounts)
}

// The store goes away for good: the error names the first user who is missing, and running it again does the rest.
func TestImportIntoStoreThatIsAway(t *testing.T) {
	accounts := several(50)
	text := exported(t, accounts...)
	s := &unruly{Store: open(t)}
	s.imported = func(a passkey.Account) error {
		if a.User.Name >= "user 020" {
			return errAway
		}
		return nil
	}
	for range 3 {
		got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
		if !errors.Is(err, passkey.StoreUnavailable) || !strings.Contains(err.Error(), `importing line 22, user "user 020"`) || got.Imported.Users+got.There != 20 {
			t.Errorf("%v, %v", got, err)
		}
	}
	s.imported = nil
	s.account = func() error { return errAway } // asked about those who are there
	if _, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts); !errors.Is(err, passkey.StoreUnavailable) {
		t.Errorf("%v", err)
	}
	s.account = nil
	got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
	if err != nil || got.Imported.Users+got.There != 50 {
		t.Errorf("%v, %v", got, err)
	}
	sameButEpochs(t, all(t, s), accounts)
}

// What is not the store's absence is not tried again, and no refusal is passed over.
func TestImportOtherErrors(t *testing.T) {
	text := exported(t, several(1)...)
	for _, refusal := range []error{passkey.Internal, passkey.Conflict, errors.New("?")} {
		calls := 0
		s := &unruly{Store: open(t), imported: func(passkey.Account) error { calls++; return refusal }}
		got, err := load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
		if !errors.Is(err, refusal) || calls != 1 || got.Imported.Users != 0 {
			t.Errorf("%v: %v, %v, %d calls", refusal, got, err, calls)
		}
	}
}

// Broken off by the caller: the caller's reason, and what was counted is there.
func TestImportInterrupted(t *testing.T) {
	accounts := several(80)
	text := exported(t, accounts...)
	s := open(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	o := opts
	o.Progress = func(done fmt.Stringer) {
		if strings.HasPrefix(done.String(), "10 users") {
			cancel(enough)
		}
	}
	got, err := load(ctx, transfer.Import, s, bytes.NewReader(text), o)
	if err != enough || got.Imported.Users < 10 || got.Imported.Users > 30 {
		t.Errorf("%v, %v", got, err)
	}
	if there := len(all(t, s)); there != got.Imported.Users {
		t.Errorf("%d users are there, %d were counted", there, got.Imported.Users)
	}
	_, err = load(t.Context(), transfer.Import, s, bytes.NewReader(text), opts)
	must(t, err)
	sameButEpochs(t, all(t, s), accounts)
}

// An input that does not end holds nobody up: standard input, whose other end hangs.
func TestImportInterruptedWhileReading(t *testing.T) {
	accounts := several(20)
	text := exported(t, accounts...)
	in, other := io.Pipe()
	defer other.Close()
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = other.Write(text[:len(text)/2]) }()
	n := 0
	o := opts
	o.Progress = func(fmt.Stringer) {
		if n++; n == 5 {
			cancel()
		}
	}
	got, err := load(ctx, transfer.Import, s, in, o)
	if !errors.Is(err, context.Canceled) || got.Imported.Users < 5 || len(all(t, s)) != got.Imported.Users {
		t.Errorf("%v, %v", got, err)
	}
}

// Several at once, and never more than asked for.
func TestImportParallel(t *testing.T) {
	var under, most, come atomic.Int64
	meet := make(chan struct{})
	s := &unruly{Store: open(t)}
	s.imported = func(passkey.Account) error {
		defer under.Add(-1)
		for n := under.Add(1); ; {
			if before := most.Load(); n <= before || most.CompareAndSwap(before, n) {
				break
			}
		}
		switch come.Add(1) { // the first two are here at once; more need not be: who comes last may find nobody
		case 1:
			<-meet
		case 2:
			close(meet)
		}
		return nil
	}
	o := opts
	o.Parallel = 4
	_, err := load(t.Context(), transfer.Import, s, bytes.NewReader(exported(t, several(40)...)), o)
	must(t, err)
	if n := most.Load(); n < 2 || n > 4 {
		t.Errorf("%d at once", n)
	}
}
