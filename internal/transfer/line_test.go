package transfer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

const header = `{"stepgate_export":1,"rp_id":"example.com","exported_at":"2026-03-14T15:09:26Z"}` + "\n"

const ada = `{"user":"ada <&> \"é\" \u2028","version":3,"handle":"aGFuZGxl","passkeys":[` + laptop + `]}` + "\n"

const laptop = `{"id":"c2l4dGVlbiBieXRlcyBpZA","public_key":"AAE","sign_count":4294967295,"transports":["hybrid","internal"],` +
	`"backup_eligible":true,"backed_up":true,"aaguid":"00010203-0405-0607-0809-0a0b0c0d0e0f","attestation_format":"packed",` +
	`"name":"Büro ☂ <1>","created_at":"2026-03-14T14:09:26.535897932Z","last_used_at":"2026-03-14T15:09:26Z",` +
	`"last_ceremony":"` + "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU" + `"}`

const bob = `{"user":"bob","version":9007199254740992,"handle":"aGFuZGxl","passkeys":[]}` + "\n"

const closing = `{"users":2,"passkeys":1}` + "\n"

// The format, byte for byte: other programs read it, and later versions of this one.
func TestFormat(t *testing.T) {
	adas := newAccount("ada <&> \"é\" \u2028", passkey.Passkey{
		ID: []byte("sixteen bytes id"), PublicKey: []byte{0, 1}, SignCount: 1<<32 - 1, Transports: []string{"hybrid", "internal"},
		BackupEligible: true, BackedUp: true, AAGUID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, AttestationFormat: "packed",
		Name: "Büro ☂ <1>", CreatedAt: now.Add(-time.Hour).In(time.FixedZone("", 3600)), LastUsedAt: now.Truncate(time.Second),
		LastCeremony: passkey.ChallengeID(nil),
	})
	bobs := newAccount("bob")
	adas.User.Handle, bobs.User.Handle, bobs.User.Version = []byte("handle"), []byte("handle"), 1<<53
	if diff := cmp.Diff(header+bob+ada+closing, string(exported(t, adas, bobs))); diff != "" { // shorter names first
		t.Errorf("export (-want +got):\n%s", diff)
	}

	reader, err := transfer.NewReader(strings.NewReader(header+ada+bob+closing), rpID)
	must(t, err)
	for i, want := range []passkey.Account{adas, bobs} {
		got, err := reader.Next()
		must(t, err)
		want.User.Epoch = passkey.Epoch{}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || reader.Line() != i+2 {
			t.Errorf("line %d (-want +got):\n%s", reader.Line(), diff)
		}
	}
	for range 2 {
		if _, err := reader.Next(); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
	}
	if reader.Counts() != (transfer.Counts{Users: 2, Passkeys: 1}) || reader.Offset() != int64(len(header+ada+bob+closing)) {
		t.Errorf("%v, %d bytes", reader.Counts(), reader.Offset())
	}
}

// readAll returns how many users were read before the error.
func readAll(text string) (int, error) {
	reader, err := transfer.NewReader(strings.NewReader(text), rpID)
	if err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		if _, err := reader.Next(); err != nil {
			return n, err
		}
	}
}

// Every edit of a file is refused, with the line and the reason.
func TestRefused(t *testing.T) {
	whole := header + ada + bob + closing
	if n, err := readAll(whole); n != 2 || err != io.EOF {
		t.Fatal(n, err)
	}
	edit := func(from, to string) string {
		if strings.Count(whole, from) < 1 {
			t.Fatalf("nothing to edit: %s", from)
		}
		return strings.Replace(whole, from, to, 1)
	}
	second := strings.NewReplacer(`c2l4`, `c2l5`, `Büro ☂ <1>`, `Other`).Replace(laptop)
	many := ""
	for i := range 101 {
		many += fmt.Sprintf(",%s", strings.NewReplacer(`c2l4`, fmt.Sprintf("%04d", i), `Büro ☂ <1>`, fmt.Sprint("n", i)).Replace(laptop))
	}
	for _, test := range []struct{ text, want string }{
		// The header.
		{"\n" + whole, "line 1: this is no export"},
		{ada + closing, "line 1: this is no export"},
		{"\ufeff" + whole, "line 1: this is no export"},
		{edit(`"stepgate_export":1`, `"stepgate_export":2`), "line 1: this export is in another format; this Stepgate knows version 1"},
		{edit(`"stepgate_export":1`, `"stepgate_export":"1"`), "line 1: this export is in another format"},
		{edit(`"stepgate_export":1`, `"stepgate_export":1.0`), "line 1: this export is in another format"},
		{edit(`"rp_id":"example.com"`, `"rp_id":"other.example"`), `line 1: the passkeys belong to the rp_id "other.example" and are useless at "example.com"`},
		{edit(`"rp_id":"example.com",`, ``), "line 1: rp_id is missing"},
		{edit(`26Z"}`, `26Z","more":1}`), `line 1: it has a member that this Stepgate does not know: "more"`},
		{edit(`"exported_at":"2026-03-14T15:09:26Z"`, `"exported_at":"today"`), "line 1: a time is not in RFC 3339"},
		{edit(`"rp_id":"example.com"`, `"rp_id":7`), "line 1: rp_id has the wrong type"},
		// Forms.
		{edit(`"version":3`, `"version": 3`), "line 2: not in the form"},
		{edit("\n", "\r\n"), "line 1: not in the form"},
		{edit(`{"user":"bob","version":9007199254740992`, `{"version":9007199254740992,"user":"bob"`), "line 3: not in the form"},
		{edit(`é`, `\u00e9`), "line 2: not in the form"},
		{edit(`<&>`, `\u003c&>`), "line 2: not in the form"},
		{edit(`14:09:26.535897932Z`, `15:09:26.535897932+01:00`), "line 2: not in the form"},
		{edit(`26Z","last_ceremony"`, `26.0Z","last_ceremony"`), "line 2: not in the form"},
		{edit(`"AAE"`, `"AAF"`), "line 2: not in the form"},
		{edit(`"AAE"`, `"AAE="`), "line 2: a handle, id or public key is not in base64url"},
		{edit(`"c2l4`, `"c2l+`), "line 2: a handle, id or public key is not in base64url"},
		{edit(`0a0b0c0d0e0f`, `0A0B0C0D0E0F`), "line 2: not in the form"},
		{edit(`00010203-0405`, `000102030405`), "line 2: not in the form"},
		{edit(`00010203`, `0001020x`), "line 2: aaguid is no UUID"},
		{edit(`00010203`, `000102`), "line 2: aaguid is no UUID"},
		{edit(`"last_used_at":"2026-03-14T15:09:26Z",`, `"last_used_at":null,`), "line 2: not in the form"},
		{edit(`"last_used_at":"2026-03-14T15:09:26Z"`, `"last_used_at":"0001-01-01T00:00:00Z"`), "line 2: not in the form"},
		{edit(`["hybrid","internal"]`, `null`), "line 2: not in the form"},
		{edit(`"passkeys":[]`, `"passkeys":null`), "line 3: not in the form"},
		// Members.
		{edit(`"version":3,`, ``), "line 2: version is missing"},
		{edit(`"name":"Büro ☂ <1>",`, ``), "line 2: passkey 1: name is missing"},
		{edit(`"version":3`, `"Version":3`), "line 2: version is missing"},
		{edit(`"version":3`, `"version":3,"version":4`), "line 2: a member named twice"},
		{edit(`"version":3`, `"version":3,"Version":4`), "line 2: a member named twice"},
		{edit(`"sign_count"`, `"sign_count":1,"sign_count"`), "line 2: a member named twice"},
		{edit(`"version":3`, `"version":3,"epoch":"AAAAAAAAAAAAAAAAAAAAAA"`), `line 2: it has a member that this Stepgate does not know: "epoch"`},
		{edit(`"backed_up":true`, `"backed_up":true,"unheard_of":true`), `line 2: passkey 1: it has a member that this Stepgate does not know: "unheard_of"`},
		{edit(`"user":"bob"`, `"user":"bob","users":1`), "line 3: it has a member that this Stepgate does not know"},
		// Types and ranges.
		{edit(`"version":3`, `"version":"3"`), "line 2: version has the wrong type"},
		{edit(`"version":3`, `"version":-3`), "line 2: version has the wrong type or is out of range"},
		{edit(`"version":3`, `"version":0`), "line 2: version is out of range"},
		{edit(`9007199254740992`, `9007199254740993`), "line 3: version is out of range"},
		{edit(`9007199254740992`, `18446744073709551616`), "line 3: version has the wrong type or is out of range"},
		{edit(`4294967295`, `4294967296`), "line 2: passkeys.sign_count has the wrong type or is out of range"},
		{edit(`4294967295`, `4294967295.0`), "line 2: passkeys.sign_count has the wrong type"},
		{edit(`"backed_up":true`, `"backed_up":"true"`), "line 2: passkeys.backed_up has the wrong type"},
		{edit(`[]`, `{}`), "line 3: passkeys is no array of objects"},
		{edit(`[]`, `[1]`), "line 3: passkeys is no array of objects"},
		{edit(`[]`, `[null]`), "line 3: passkey 1: id is missing"},
		{edit(`"user":"bob"`, `"user":""`), "line 3: user is empty"},
		{edit(`"user":"bob"`, `"user":"b\u0000b"`), "line 3: user is empty, too long, not UTF-8, or holds control characters"},
		{edit(`"user":"bob"`, `"user":"`+strings.Repeat("b", 513)+`"`), "line 3: user is empty, too long"},
		{edit(`"user":"bob"`, "\"user\":\"b\xffb\""), "line 3: not JSON in UTF-8"},
		{edit(`"user":"bob"`, `"user":"b\ud800b"`), "line 3: not in the form"},
		{edit(`aGFuZGxl`, ``), "line 2: handle has 0 bytes"},
		{edit(`aGFuZGxl`, strings.Repeat("a", 88)), "line 2: handle has 66 bytes, not 1 to 64"},
		{edit(`c2l4dGVlbiBieXRlcyBpZA`, `c2l4dGVlbiBieXRlcyBp`), "line 2: passkey 1: id has 15 bytes, not 16 to 1023"},
		{edit(`c2l4dGVlbiBieXRlcyBpZA`, strings.Repeat("a", 1368)), "line 2: passkey 1: id has 1026 bytes"},
		{edit(`"AAE"`, `""`), "line 2: passkey 1: public_key has 0 bytes"},
		{edit(`"AAE"`, `"`+strings.Repeat("a", 2736)+`"`), "line 2: passkey 1: public_key has 2052 bytes"},
		{edit(`["hybrid","internal"]`, `["internal","hybrid"]`), "line 2: passkey 1: transports"},
		{edit(`["hybrid","internal"]`, `["usb","usb"]`), "line 2: passkey 1: transports"},
		{edit(`["hybrid","internal"]`, `["", "usb"]`), "line 2: passkey 1: transports"},
		{edit(`"backup_eligible":true`, `"backup_eligible":false`), "line 2: passkey 1: it is backed up though"},
		{edit(`"packed"`, `"pack ed"`), "line 2: passkey 1: attestation_format"},
		{edit(`"packed"`, `"`+strings.Repeat("p", 33)+`"`), "line 2: passkey 1: attestation_format"},
		{edit(`Büro ☂ <1>`, ` Büro`), "line 2: passkey 1: name"},
		{edit(`Büro ☂ <1>`, ``), "line 2: passkey 1: name"},
		{edit(`Büro ☂ <1>`, strings.Repeat("ä", 65)), "line 2: passkey 1: name"},
		{edit(`Büro ☂ <1>`, "a\u202eb"), "line 2: passkey 1: name"},
		{edit(`"created_at":"2026`, `"created_at":"9999`), "line 2: passkey 1: created_at is out of range"},
		{edit(`"created_at":"2026-03-14T14:09:26.535897932Z"`, `"created_at":"0001-01-01T00:00:00Z"`), "line 2: passkey 1: created_at is out of range"},
		{edit(`"last_used_at":"2026`, `"last_used_at":"0000`), "line 2: passkey 1: last_used_at is out of range"},
		{edit(`47DEQpj8`, `47DEQpj`), "line 2: passkey 1: last_ceremony"},
		{edit(`SuFU"`, `SuFV"`), "line 2: passkey 1: last_ceremony"},
		{edit(laptop, laptop+","+laptop), "line 2: passkey 2: its id is another one's too"},
		{edit(laptop, laptop+","+strings.Replace(second, "Other", "BÜRO ☂ <1>", 1)), "line 2: passkey 2: its name is another one's too"},
		{edit(laptop, laptop+many), "line 2: it has 102 passkeys; 100 are the most"},
		// Lines.
		{edit(bob, bob+bob), "line 4: another line is about the same user"},
		{edit(bob, "\n"), "line 3: not JSON"},
		{edit(bob, "[]\n"), "line 3: not a JSON object"},
		{edit(bob, header), "line 3: user is missing"},
		{edit(bob, ""), "line 3: lines are missing or were added: the export had 2 users, 1 passkey, and here are 1 user, 1 passkey"},
		{edit(`"users":2`, `"users":1`), "line 4: lines are missing or were added"},
		{edit(`"users":2`, `"users":02`), "line 4: not JSON"},
		{edit(`"passkeys":1}`, `"passkeys":1,"more":1}`), "line 4: it has a member"},
		{whole + "\n", "line 4: something follows the closing line"},
		{whole + "x", "line 4: something follows the closing line"},
		{edit(bob, strings.Repeat("x", transfer.MaxLine+1)+"\n"), "line 3: it is longer than 1048576 bytes"},
		{edit(bob, strings.Repeat("x", 3*transfer.MaxLine)), "line 3: it is longer than 1048576 bytes"},
	} {
		_, err := readAll(test.text)
		var line *transfer.LineError
		if !errors.As(err, &line) || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got  %v\nwant %s", err, test.want)
			continue
		}
		for _, content := range []string{"c2l4", "Büro", "handle of", "aGFuZGxl", "47DEQ"} {
			if strings.Contains(err.Error(), content) {
				t.Errorf("the error quotes the line: %v", err)
			}
		}
	}
}

// Wherever a file ends too early, that is seen, and whole lines before it count.
func TestCutShort(t *testing.T) {
	whole := header + ada + bob + closing
	for n := range len(whole) {
		users, err := readAll(whole[:n])
		want := 0
		for _, end := range []int{len(header + ada), len(header + ada + bob)} {
			if n >= end {
				want++
			}
		}
		if users != want || !errors.Is(err, transfer.ErrCutShort) {
			t.Fatalf("cut at %d: %d users, %v", n, users, err)
		}
	}
}

// The greatest user that the bounds allow has room in a line.
func TestGreatestUser(t *testing.T) {
	account := newAccount(strings.Repeat(`"`, passkey.MaxUserLength))
	for i := range 100 {
		p := newPasskey("x")
		p.ID = bytes.Repeat([]byte{byte(i)}, passkey.MaxIDLength)
		p.PublicKey = bytes.Repeat([]byte{0xff}, 2048)
		p.Name = fmt.Sprintf("%02d", i) + strings.Repeat("\U0001F511", passkey.MaxNameLength-2)
		p.Transports = nil
		for j := range 16 {
			p.Transports = append(p.Transports, strings.Repeat("<", 30)+fmt.Sprintf("%02d", j))
		}
		p.AttestationFormat = strings.Repeat("&", 32)
		account = newAccount(account.User.Name, append(account.Passkeys, p)...)
	}
	text := exported(t, account)
	if n, err := readAll(string(text)); n != 1 || err != io.EOF {
		t.Errorf("%d bytes: %d, %v", len(text), n, err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

// What can't be read is not taken for the end.
func TestReadError(t *testing.T) {
	for _, text := range []string{"", header, header + bob[:10], header + ada + bob + closing} {
		reader, err := transfer.NewReader(io.MultiReader(strings.NewReader(text), broken{}), rpID)
		for err == nil {
			_, err = reader.Next()
		}
		if err == io.EOF || errors.Is(err, transfer.ErrCutShort) || !strings.Contains(err.Error(), "reading the export: the disk is gone") {
			t.Errorf("after %q: %v", text, err)
		}
	}
}

// Whatever is accepted is, byte for byte, what exporting it writes.
func FuzzReader(f *testing.F) {
	f.Add([]byte(ada))
	f.Add([]byte(bob))
	f.Add([]byte(strings.Replace(ada, laptop, laptop+","+strings.NewReplacer(`c2l4`, `c2l5`, `Büro`, `Other`).Replace(laptop), 1)))
	f.Add([]byte(strings.NewReplacer(`"last_used_at":"2026-03-14T15:09:26Z",`, ``, `["hybrid","internal"]`, `[]`, `"packed"`, `""`).Replace(ada)))
	f.Fuzz(func(t *testing.T, line []byte) {
		text := header + string(line)
		reader, err := transfer.NewReader(strings.NewReader(text), rpID)
		must(t, err)
		account, err := reader.Next()
		if err != nil {
			var where *transfer.LineError
			if !errors.As(err, &where) && !errors.Is(err, transfer.ErrCutShort) && err != io.EOF {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		var again bytes.Buffer
		_, err = transfer.Export(t.Context(), listing{account}, rpID, &again, opts)
		must(t, err)
		want := fmt.Sprintf("%s{\"users\":1,\"passkeys\":%d}\n", text[:reader.Offset()], len(account.Passkeys))
		if diff := cmp.Diff(want, again.String()); diff != "" {
			t.Errorf("accepted (-) and written (+):\n%s", diff)
		}
	})
}

// What the documentation shows is an export.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile("../../docs/moving.md")
	must(t, err)
	_, text, _ := strings.Cut(string(page), "## The format\n")
	_, text, _ = strings.Cut(text, "```json\n")
	text, _, _ = strings.Cut(text, "```")
	if n, err := readAll(text); n != 1 || err != io.EOF {
		t.Errorf("%d users, %v", n, err)
	}
}
