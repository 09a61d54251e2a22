package passkey_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/passkey"
)

func TestLevels(t *testing.T) {
	for name, level := range map[string]passkey.Level{
		"present": passkey.Present, "verified": passkey.Verified, "device_bound": passkey.DeviceBound, "attested": passkey.Attested,
	} {
		if got, err := passkey.ParseLevel(name); err != nil || got != level || got.String() != name || !got.Valid() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Present", "VERIFIED", "none", "device-bound", " verified"} {
		if _, err := passkey.ParseLevel(name); err == nil {
			t.Errorf("%q is a level", name)
		}
	}
	if passkey.Level(0).Valid() || passkey.Level(5).Valid() || passkey.Level(0).String() != "" || passkey.Level(9).String() == "" {
		t.Error("levels outside the list")
	}
	if passkey.Present >= passkey.Verified || passkey.Verified >= passkey.DeviceBound || passkey.DeviceBound >= passkey.Attested {
		t.Error("levels out of order")
	}
}

func TestReach(t *testing.T) {
	bound, synced := passkey.Passkey{ID: []byte("a")}, passkey.Passkey{ID: []byte("b"), BackupEligible: true}
	if bound.Reach() != passkey.DeviceBound || synced.Reach() != passkey.Verified {
		t.Errorf("reach %v, %v", bound.Reach(), synced.Reach())
	}
	for want, passkeys := range map[passkey.Level][]passkey.Passkey{0: nil, passkey.Verified: {synced}, passkey.DeviceBound: {synced, bound}} {
		if got := (passkey.Account{Passkeys: passkeys}).Reach(); got != want {
			t.Errorf("%v reach %v", passkeys, got)
		}
	}
}

func TestAccountLookups(t *testing.T) {
	a := passkey.Account{Passkeys: []passkey.Passkey{{ID: []byte("first")}, {ID: []byte("second"), Name: "x"}}}
	if p, ok := a.Passkey([]byte("second")); !ok || p.Name != "x" {
		t.Errorf("by id: %v %v", p, ok)
	}
	if p, ok := a.PasskeyByShortID(passkey.ShortID([]byte("second"))); !ok || p.Name != "x" {
		t.Errorf("by short id: %v %v", p, ok)
	}
	if _, ok := a.Passkey([]byte("third")); ok {
		t.Error("found one that is not there")
	}
	if _, ok := a.PasskeyByShortID("second"); ok {
		t.Error("found by something that is no short id")
	}
	if id := passkey.ShortID([]byte("second")); len(id) != 22 || strings.ContainsAny(id, "+/=") {
		t.Errorf("short id %q", id)
	}
}

func TestUserChanges(t *testing.T) {
	u := passkey.User{Name: "alice", Version: 3, Epoch: passkey.Epoch{1}, Passkeys: []passkey.Ref{{ID: []byte("a"), Folded: passkey.FoldName("Key")}}}
	before := cmp.Diff(u, passkey.User{})

	added, err := u.Adding(passkey.Passkey{ID: []byte("b"), Name: "Phone"})
	if err != nil || added.Version != 4 || len(added.Passkeys) != 2 {
		t.Errorf("adding: %+v, %v", added, err)
	}
	if _, err := added.Adding(passkey.Passkey{ID: []byte("b"), Name: "Other"}); !errors.Is(err, passkey.PasskeyExists) {
		t.Errorf("adding what is there: %v", err)
	}
	if _, err := u.Adding(passkey.Passkey{ID: []byte("b"), Name: "KEY"}); !errors.Is(err, passkey.NameTaken) {
		t.Errorf("adding a taken name: %v", err)
	}
	renamed, err := added.Renaming([]byte("b"), "Tablet")
	if err != nil || renamed.Version != 5 || renamed.Passkeys[1].Folded != "tablet" || added.Passkeys[1].Folded != "phone" {
		t.Errorf("renaming: %+v, %v", renamed, err)
	}
	if _, err := added.Renaming([]byte("b"), "key"); !errors.Is(err, passkey.NameTaken) {
		t.Errorf("renaming to a taken name: %v", err)
	}
	if same, err := added.Renaming([]byte("b"), "PHONE"); err != nil || same.Version != 5 {
		t.Errorf("renaming to another case of its own name: %v", err)
	}
	if _, err := added.Renaming([]byte("c"), "x"); !errors.Is(err, passkey.PasskeyUnknown) {
		t.Errorf("renaming what is not there: %v", err)
	}
	removed, err := added.Removing([]byte("a"))
	if err != nil || removed.Version != 5 || len(removed.Passkeys) != 1 || removed.Epoch != u.Epoch || len(added.Passkeys) != 2 {
		t.Errorf("removing: %+v, %v", removed, err)
	}
	if _, err := added.Removing([]byte("c")); !errors.Is(err, passkey.PasskeyUnknown) {
		t.Errorf("removing what is not there: %v", err)
	}
	if next := u.InEpoch(passkey.Epoch{2}); next.Version != 4 || next.Epoch != (passkey.Epoch{2}) {
		t.Errorf("epoch: %+v", next)
	}
	if after := cmp.Diff(u, passkey.User{}); after != before {
		t.Errorf("the record itself changed: %s", after)
	}
}

func TestCheckUser(t *testing.T) {
	for _, good := range []string{"alice", "a#b", "alice@example.com", "\U0001f511", " alice", strings.Repeat("a", passkey.MaxUserLength)} {
		if err := passkey.CheckUser(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for name, want := range map[string]error{
		"": passkey.UserMissing, " \t": passkey.UserMissing, "a\x00": passkey.UserInvalid, "a\n": passkey.UserInvalid, "\xff": passkey.UserInvalid,
		"a\u0085": passkey.UserInvalid, strings.Repeat("a", passkey.MaxUserLength+1): passkey.UserInvalid,
	} {
		if err := passkey.CheckUser(name); !errors.Is(err, want) {
			t.Errorf("%.20q: got %v, want %v", name, err, want)
		}
	}
}

func TestCheckName(t *testing.T) {
	for given, want := range map[string]string{
		"Key": "Key", "  Key ": "Key", "Ключ 🔑": "Ключ 🔑", "👩‍💻": "👩‍💻", "<b>": "<b>", strings.Repeat("ä", passkey.MaxNameLength): strings.Repeat("ä", passkey.MaxNameLength),
	} {
		if got, err := passkey.CheckName(given); err != nil || got != want {
			t.Errorf("%q: %q, %v", given, got, err)
		}
	}
	for _, bad := range []string{"", "   ", "a\nb", "a\x00b", "a\u202eb", "a\u200bb", "a\u00a0b", "\xff", "a\u2028b", strings.Repeat("a", passkey.MaxNameLength+1)} {
		if _, err := passkey.CheckName(bad); !errors.Is(err, passkey.NameInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestChallengeCheck(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	c := passkey.Challenge{ID: passkey.ChallengeID([]byte("random")), User: "alice", Action: passkey.StepUp, Browser: passkey.DigestOf("browser"), Expires: now}
	claim := passkey.Claim{ID: c.ID, User: "alice", Kind: passkey.Authentication, Browser: c.Browser}
	with := func(change func(*passkey.Claim)) passkey.Claim {
		changed := claim
		change(&changed)
		return changed
	}
	early := now.Add(-time.Nanosecond)
	for name, test := range map[string]struct {
		claim passkey.Claim
		now   time.Time
		want  error
	}{
		"fits":          {claim, early, nil},
		"at the end":    {claim, now, passkey.ChallengeExpired},
		"other id":      {with(func(c *passkey.Claim) { c.ID = "x" }), early, passkey.ChallengeUsed},
		"other user":    {with(func(c *passkey.Claim) { c.User = "bob" }), early, passkey.ChallengeUsed},
		"other kind":    {with(func(c *passkey.Claim) { c.Kind = passkey.Registration }), early, passkey.CeremonyMismatch},
		"no kind":       {with(func(c *passkey.Claim) { c.Kind = 0 }), early, passkey.CeremonyMismatch},
		"other browser": {with(func(c *passkey.Claim) { c.Browser = passkey.Digest{} }), early, passkey.BrowserMismatch},
	} {
		if err := c.Check(test.claim, test.now); !errors.Is(err, test.want) && err != test.want {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	for action, kind := range map[passkey.Action]passkey.Kind{
		passkey.StepUp: passkey.Authentication, passkey.Add: passkey.Authentication, passkey.Remove: passkey.Authentication,
		passkey.FirstUse: passkey.Registration, passkey.Another: passkey.Registration, "x": 0,
	} {
		if got := action.Kind(); got != kind {
			t.Errorf("%s is %v", action, got)
		}
	}
	if passkey.DigestOf("") != (passkey.Digest{}) || passkey.DigestOf("a") == passkey.DigestOf("b") {
		t.Error("digests")
	}
	if len(passkey.ChallengeID([]byte("x"))) != 43 {
		t.Error("challenge id")
	}
}
