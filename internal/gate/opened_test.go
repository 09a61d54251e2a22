package gate

import (
	"errors"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

// A view finds the grant that it keeps by its very text and sealer, and nothing else.
func TestOpened(t *testing.T) {
	sealer := func() *grant.Sealer {
		keys, err := grant.ParseKeys(grant.NewKey())
		if err != nil {
			t.Fatal(err)
		}
		s, err := keys.Sealer(grant.ForGrant, "example.com")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := sealer()
	var g grant.Grant
	at := time.Date(2026, 11, 22, 12, 0, 0, 500, time.UTC)
	g.Add(grant.Proof{Level: passkey.DeviceBound, At: at.Add(-time.Hour).UnixNano()})
	g.Add(grant.Proof{Level: passkey.Verified, At: at.UnixNano()})
	text := g.Seal(s)

	v := &view{}
	first, err := v.open(s, text)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := v.open(s, text); again == first {
		t.Error("found, though it was not kept")
	}
	v.keep(first)
	if again, _ := v.open(s, text); again != first {
		t.Error("not found")
	}
	if allocations := testing.AllocsPerRun(10, func() { _, _ = v.open(s, text) }); allocations != 0 {
		t.Errorf("%v allocations to find it", allocations)
	}
	for i := range text {
		changed := []byte(text)
		if changed[i]++; changed[i] == 'z'+1 {
			changed[i] = 'a'
		}
		if o, err := v.open(s, string(changed)); !errors.Is(err, grant.ErrUnreadable) || o != nil {
			t.Errorf("changed at %d: %v", i, err)
		}
	}
	for _, other := range []string{"", text[:len(text)-1], text + "A", text[1:], text[len(text)-sumLength:], "A" + text} {
		if _, err := v.open(s, other); !errors.Is(err, grant.ErrUnreadable) {
			t.Errorf("%q: %v", other, err)
		}
	}
	if _, err := v.open(sealer(), text); !errors.Is(err, grant.ErrUnreadable) {
		t.Errorf("by another key: %v", err)
	}
	if second, err := v.open(s, g.Seal(s)); err != nil || second == first {
		t.Errorf("another sealing of the same: %v", err)
	}
	var proofs []string
	for _, p := range first.proofs() {
		proofs = append(proofs, p.Level.String()+" "+first.time(p))
	}
	if len(proofs) != 2 || proofs[0] != "verified 2026-11-22T12:00:00Z" || proofs[1] != "device_bound 2026-11-22T11:00:00Z" {
		t.Errorf("proofs %q", proofs)
	}
	if text := first.time(grant.Proof{}); text != "" {
		t.Errorf("a proof that is not in it was made %q", text)
	}
	if none, err := (*view)(nil).open(s, text); err != nil || none.grant != first.grant {
		t.Errorf("without a view: %v", err)
	}
}
