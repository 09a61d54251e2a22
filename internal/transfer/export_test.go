package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// listing is a store that lists these accounts.
type listing []passkey.Account

func (l listing) Account(context.Context, string) (passkey.Account, error) { panic("not called") }
func (l listing) Import(context.Context, passkey.Account) error            { panic("not called") }
func (l listing) Users(_ context.Context, _ string, yield func(passkey.Account) error) error {
	for _, account := range l {
		if err := yield(account); err != nil {
			return err
		}
	}
	return nil
}

// Cut off at any byte, an export that is run again ends as the same file.
func TestExportFileGoesOn(t *testing.T) {
	s := open(t, several(4)...)
	path := filepath.Join(t.TempDir(), "export")
	counts, err := transfer.ExportFile(t.Context(), s, rpID, path, opts)
	if err != nil || counts != (transfer.Counts{Users: 4, Passkeys: 3}) {
		t.Fatal(counts, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
	whole, err := os.ReadFile(path)
	must(t, err)
	later := opts
	later.Now = func() time.Time { return now.Add(time.Hour) }
	for n := len(whole) - 1; n >= 0; n-- {
		o := later
		if n < bytes.IndexByte(whole, '\n')+1 {
			o = opts // the header is written again
		}
		must(t, os.WriteFile(path, whole[:n], 0o600))
		counts, err := transfer.ExportFile(t.Context(), s, rpID, path, o)
		if err != nil || counts != (transfer.Counts{Users: 4, Passkeys: 3}) {
			t.Fatalf("cut at %d: %v, %v", n, counts, err)
		}
		if text, _ := os.ReadFile(path); !bytes.Equal(text, whole) {
			t.Fatalf("cut at %d:\n%s", n, text)
		}
	}
	if _, err := transfer.ExportFile(t.Context(), s, rpID, path, opts); !errors.Is(err, transfer.ErrComplete) || !strings.Contains(err.Error(), path) {
		t.Errorf("to a finished file: %v", err)
	}
}

// A file that is not an unfinished export of this relying party is left as it is.
func TestExportFileTouchesNothingElse(t *testing.T) {
	s := open(t, several(2)...)
	path := filepath.Join(t.TempDir(), "file")
	whole := string(exported(t, several(2)...))
	first := whole[:strings.Index(whole, "\n")+1]
	for _, test := range []struct{ text, want string }{
		{"passwords\n", "it is no export of Stepgate's; name another file"},
		{"x", "it is no export"},
		{`{"stepgate` + "\n", "it is no export"},
		{whole, "it is complete already"},
		{whole + "x", "line 4: something follows"},
		{strings.Replace(first, rpID, "other.example", 1), `line 1: the passkeys belong to the rp_id "other.example"`},
		{strings.Replace(first, ":1", ":2", 1), "line 1: this export is in another format"},
		{first + "{}\n", "it can't be gone on with, remove it or name another: line 2: user is missing"},
	} {
		must(t, os.WriteFile(path, []byte(test.text), 0o600))
		_, err := transfer.ExportFile(t.Context(), s, rpID, path, opts)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want %s", err, test.want)
		}
		if text, _ := os.ReadFile(path); string(text) != test.text {
			t.Errorf("%s: the file is now %q", test.want, text)
		}
	}
	folder := t.TempDir()
	if _, err := transfer.ExportFile(t.Context(), s, rpID, folder, opts); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("to a folder: %v", err)
	}
	if _, err := transfer.ExportFile(t.Context(), s, rpID, filepath.Join(folder, "none", "x"), opts); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("into a folder that is not there: %v", err)
	}
}

// errAway is what a store says that can't be reached.
var errAway = fmt.Errorf("reading: %w", passkey.StoreUnavailable)

// A store that comes back is gone on with, and one that stays away is given up on; the file can be gone on with.
func TestExportOfStoreThatIsAway(t *testing.T) {
	accounts := several(40)
	whole := exported(t, accounts...)
	var pauses []time.Duration
	o := opts
	o.Wait = func(_ context.Context, d time.Duration) error {
		pauses = append(pauses, d)
		return nil
	}
	s := &unruly{Store: open(t, accounts...)}
	s.users = func(n int) error {
		if n == 7 {
			return errAway
		}
		return nil
	}
	var out bytes.Buffer
	counts, err := transfer.Export(t.Context(), s, rpID, &out, o)
	if err != nil || counts.Users != 40 || !bytes.Equal(out.Bytes(), whole) || len(pauses) != 6 || pauses[5] != pauses[0] {
		t.Errorf("%v, %v, pauses %v", counts, err, pauses)
	}

	path := filepath.Join(t.TempDir(), "export")
	calls := 0
	s.users = func(int) error {
		if calls++; calls > 5 {
			return errAway
		}
		return nil
	}
	pauses = nil
	counts, err = transfer.ExportFile(t.Context(), s, rpID, path, o)
	if !errors.Is(err, passkey.StoreUnavailable) || !strings.Contains(err.Error(), `behind "user 004"`) || counts.Users != 5 {
		t.Errorf("%v, %v", counts, err)
	}
	if want := fmt.Sprint([]time.Duration{250e6, 500e6, 1e9, 2e9}); fmt.Sprint(pauses) != want {
		t.Errorf("pauses %v, want %v", pauses, want)
	}
	s.users = nil
	if counts, err = transfer.ExportFile(t.Context(), s, rpID, path, o); err != nil || counts.Users != 40 {
		t.Errorf("%v, %v", counts, err)
	}
	if text, _ := os.ReadFile(path); !bytes.Equal(text, whole) {
		t.Errorf("the file is\n%s", text)
	}
}

// A store that says nothing is asked again after the timeout; a caller that is slow to write is no such silence.
func TestExportOfSilentStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's clock is not the machine's
		s := &silent{listing: listing(several(3))}
		o := opts
		o.Timeout = 20 * time.Second
		o.Progress = func(fmt.Stringer) { time.Sleep(30 * time.Second) }
		counts, err := transfer.Export(t.Context(), s, rpID, io.Discard, o)
		if err != nil || counts.Users != 3 || s.calls != 2 {
			t.Errorf("%v, %v after %d calls", counts, err, s.calls)
		}
	})
}

// silent says nothing the first time.
type silent struct {
	listing
	calls int
}

func (s *silent) Users(ctx context.Context, after string, yield func(passkey.Account) error) error {
	if s.calls++; s.calls == 1 {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", passkey.StoreUnavailable, ctx.Err())
	}
	return s.listing.Users(ctx, after, func(a passkey.Account) error {
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", passkey.StoreUnavailable, ctx.Err())
		}
		return yield(a)
	})
}

// Broken off by the caller: the caller's reason, whole lines, no second try.
func TestExportInterrupted(t *testing.T) {
	s := open(t, several(40)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	o := opts
	o.Progress = func(done fmt.Stringer) {
		if strings.HasPrefix(done.String(), "10 users") {
			cancel(enough)
		}
	}
	path := filepath.Join(t.TempDir(), "export")
	counts, err := transfer.ExportFile(ctx, s, rpID, path, o)
	if !errors.Is(err, enough) || counts.Users != 10 {
		t.Errorf("%v, %v", counts, err)
	}
	if text, _ := os.ReadFile(path); bytes.Count(text, []byte("\n")) != 11 || !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("the file is\n%s", text)
	}
	if counts, err := transfer.ExportFile(t.Context(), s, rpID, path, opts); err != nil || counts.Users != 40 {
		t.Errorf("%v, %v", counts, err)
	}
}

// What import would refuse is not exported, and the error says who it is.
func TestExportRefusesStrangeRecords(t *testing.T) {
	strange := newAccount("user 007", newPasskey("x"))
	strange.Passkeys[0].BackupEligible, strange.Passkeys[0].BackedUp = false, true
	for _, account := range []passkey.Account{strange, newAccount("a\xff"), {User: passkey.User{Name: "a", Handle: []byte("h")}}} {
		var out bytes.Buffer
		counts, err := transfer.Export(t.Context(), listing{newAccount("before"), account}, rpID, &out, opts)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("user %q can't be exported", account.User.Name)) || counts.Users != 1 {
			t.Errorf("%v, %v", counts, err)
		}
		if _, err := readAll(out.String()); !errors.Is(err, transfer.ErrCutShort) {
			t.Errorf("what was written reads as %v", err)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestExportToFullDisk(t *testing.T) {
	for _, accounts := range [][]passkey.Account{nil, several(1), several(1000)} {
		_, err := transfer.Export(t.Context(), listing(accounts), rpID, full{}, opts)
		if err == nil || !strings.Contains(err.Error(), "writing the export: no space left") {
			t.Errorf("%d users: %v", len(accounts), err)
		}
	}
}
