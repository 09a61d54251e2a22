package ceremony_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/transfer"
)

// calls counts what a store is asked.
type calls struct{ begin, issue, use int }

// counting returns a world whose store counts.
func counting(t testing.TB, changes ...func(*ceremony.Config)) (*world, *calls) {
	n := new(calls)
	f := &faulty{
		begin: func() error { n.begin++; return nil },
		issue: func() error { n.issue++; return nil },
		use:   func(passkey.Use) error { n.use++; return nil },
	}
	return newWorld(t, append([]func(*ceremony.Config){onFaulty(f)}, changes...)...), n
}

func recall(c *ceremony.Config) { c.Recall = true }

// TestUseNotWritten: a step-up that would tell the record nothing but the second of the minute is not written; whatever else
// it tells is.
func TestUseNotWritten(t *testing.T) {
	for _, test := range []struct {
		name    string
		config  authtest.Config
		then    func(*world)
		purpose ceremony.Purpose
		party   ceremony.Party
		lies    []authtest.Lie
		written bool
	}{
		{name: "at once"},
		{name: "just within the minute", then: func(w *world) { w.clock.Advance(ceremony.Lately - 1) }},
		{name: "at another level", purpose: present},
		{name: "synced", config: authtest.Config{Synced: true}},
		{name: "a minute later", then: func(w *world) { w.clock.Advance(ceremony.Lately) }, written: true},
		{name: "before it was used, by this clock", then: func(w *world) { w.clock.Advance(-1) }, written: true},
		{name: "counting", config: authtest.Config{Counts: true}, written: true},
		{name: "begins to count", lies: []authtest.Lie{authtest.SignCount(1)}, written: true},
		{name: "is backed up now", config: authtest.Config{Synced: true, NotBackedUp: true}, lies: []authtest.Lie{authtest.Set(authtest.BS)}, written: true},
		{name: "on another origin", party: elsewhere(ada), written: true},
		{name: "to add a passkey", purpose: add, written: true},
		{name: "to make codes", purpose: ceremony.Purpose{Action: passkey.MakeCodes}, written: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, n := counting(t)
			a := authtest.New(test.config)
			w.enrol(ada, a)
			must(w.authenticate(ada, stepUp, a))(t)
			before := w.account(ada.User)
			if test.then != nil {
				test.then(w)
			}
			purpose, party := stepUp, ada
			if test.purpose.Action != "" {
				purpose = test.purpose
			}
			if test.party.User != "" {
				party = test.party
			}
			n.use = 0
			proof := must(w.authenticate(party, purpose, a, test.lies...))(t)
			if !proof.At.Equal(w.clock.Now()) || proof.Epoch != before.User.Epoch {
				t.Errorf("%+v", proof)
			}
			same(t, []passkey.Passkey{proof.Passkey}, w.account(ada.User).Passkeys)
			if wrote := n.use > 0; wrote != test.written {
				t.Errorf("written: %v", wrote)
			} else if !wrote {
				same(t, w.account(ada.User), before)
			} else if !w.account(ada.User).Passkeys[0].LastUsedAt.Equal(w.clock.Now()) {
				t.Errorf("last used %v", w.account(ada.User).Passkeys[0].LastUsedAt)
			}
		})
	}
}

// elsewhere is a person at the relying party's other origin.
func elsewhere(p ceremony.Party) ceremony.Party {
	p.Origin = other
	return p
}

// TestLearnedIsWritten: a passkey that was used a moment ago, elsewhere, and whose backup eligibility is yet to be learned.
func TestLearnedIsWritten(t *testing.T) {
	a := key()
	before := newWorld(t)
	before.enrol(ada, a)
	must(before.authenticate(ada, stepUp, a))(t)
	account := before.account(ada.User)
	account.Passkeys[0].BackupUnknown = true
	w, n := counting(t)
	if err := w.store.(*faulty).Store.(transfer.Store).Import(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if proof := must(w.authenticate(ada, stepUp, a))(t); !proof.Learned || n.use != 1 || w.account(ada.User).Passkeys[0].BackupUnknown {
		t.Errorf("%+v, %d uses", proof, n.use)
	}
}

// TestRemovedIsRefusedUnwritten: what refuses a removed passkey is what is read when the challenge is consumed. Whatever
// was signed before, and however the two race: once the removal was acknowledged, none comes through.
func TestRemovedIsRefusedUnwritten(t *testing.T) {
	for range 5 {
		w, n := counting(t)
		first, second := key(), key()
		w.enrol(ada, first)
		p := w.enrolAnother(ada, first, second)
		must(w.authenticate(ada, stepUp, second))(t)
		var replies [][]byte
		for range 24 {
			replies = append(replies, w.reply(ada, stepUp, second))
		}
		authorization := w.reply(ada, removal(p), first)
		n.use = 0
		var acknowledged atomic.Bool
		removed := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			defer close(removed)
			if _, err := w.Remove(context.Background(), ada, p.ShortID(), authorization, false); err != nil {
				t.Error(err)
			}
			acknowledged.Store(true)
		})
		for i, reply := range replies {
			group.Go(func() {
				if i%4 == 0 {
					<-removed
				}
				gone := acknowledged.Load()
				_, err := w.finish(ada, stepUp, reply)
				switch {
				case gone && err == nil:
					t.Error("a proof of a passkey whose removal was acknowledged before")
				case err != nil && !errors.Is(err, passkey.PasskeyUnknown):
					t.Errorf("refused with %v", err)
				}
			})
		}
		group.Wait()
		if n.use != 1 { // of the one that authorised the removal
			t.Errorf("%d uses were written", n.use)
		}
	}
}

// offered returns how many passkeys options offer.
func offered(t testing.TB, options []byte) int {
	t.Helper()
	var o struct {
		PublicKey struct{ AllowCredentials []json.RawMessage }
	}
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	return len(o.PublicKey.AllowCredentials)
}

// TestRecall: when a start makes do with what the last step-up found.
func TestRecall(t *testing.T) {
	tablet := ada
	tablet.Browser = passkey.DigestOf("another browser")
	for _, test := range []struct {
		name    string
		then    func(w *world, store ceremony.Store, a *authtest.Authenticator)
		party   ceremony.Party
		purpose ceremony.Purpose
		read    bool
		offered int // 1 when it is 0
	}{
		{name: "at once"},
		{name: "just within the minute", then: func(w *world, _ ceremony.Store, _ *authtest.Authenticator) { w.clock.Advance(ceremony.Lately - 1) }},
		{name: "on another origin", party: elsewhere(ada)},
		{name: "after a use that was not written", then: func(w *world, _ ceremony.Store, a *authtest.Authenticator) { must(w.authenticate(ada, stepUp, a))(w.t) }},
		{name: "registered elsewhere", then: func(w *world, store ceremony.Store, _ *authtest.Authenticator) { register(w.t, store, "elsewhere") }},
		{name: "at a level that it reaches", purpose: deviceBound},

		{name: "a minute later", read: true, then: func(w *world, _ ceremony.Store, _ *authtest.Authenticator) { w.clock.Advance(ceremony.Lately) }},
		{name: "a clock that was set back", read: true, then: func(w *world, _ ceremony.Store, _ *authtest.Authenticator) { w.clock.Advance(-1) }},
		{name: "from another browser", read: true, party: tablet},
		{name: "to add a passkey", read: true, purpose: add},
		{name: "registered here", read: true, offered: 2, then: func(w *world, _ ceremony.Store, a *authtest.Authenticator) { w.enrolAnother(ada, a, key()) }},
		{name: "a finish that failed", read: true, then: func(w *world, _ ceremony.Store, a *authtest.Authenticator) {
			_, err := w.authenticate(ada, stepUp, a, authtest.Clear(authtest.UV))
			refused(w.t, err, passkey.UserVerificationMissing)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, n := counting(t, recall)
			a := key()
			w.enrol(ada, a)
			must(w.authenticate(ada, stepUp, a))(t)
			if test.then != nil {
				test.then(w, w.store, a)
			}
			party, purpose := ada, stepUp
			if test.party.User != "" {
				party = test.party
			}
			if test.purpose.Action != "" {
				purpose = test.purpose
			}
			*n = calls{}
			options := w.start(party, purpose)
			want := calls{issue: 1}
			if test.read {
				want = calls{begin: 1}
			}
			if *n != want {
				t.Errorf("%+v", *n)
			}
			if got := offered(t, options); got != max(test.offered, 1) {
				t.Errorf("%d passkeys are offered", got)
			}
			must(w.finish(party, purpose, must(a.Authenticate(options, party.Origin))(t)))(t)
		})
	}
}

// register registers a passkey for ada as another gateway would.
func register(t testing.TB, store ceremony.Store, seed string) {
	t.Helper()
	account := must(store.Account(t.Context(), ada.User))(t)
	p := passkey.Passkey{ID: []byte("credential id " + seed), PublicKey: []byte("key"), Name: seed, CreatedAt: time.Unix(1, 0)}
	if err := store.Register(t.Context(), must(account.User.Adding(p))(t), p); err != nil {
		t.Fatal(err)
	}
}

// TestRecallAlwaysReads where that is not allowed.
func TestRecallAlwaysReads(t *testing.T) {
	w, n := counting(t)
	a := key()
	w.enrol(ada, a)
	*n = calls{}
	for range 3 {
		must(w.authenticate(ada, stepUp, a))(t)
	}
	if (*n != calls{begin: 3, use: 1}) {
		t.Errorf("%+v", *n)
	}
}

// TestRecallHidesNothing: nobody is told that they have no passkey, or none that is good enough, by what was found before; and
// what was removed elsewhere is refused, whoever was offered it.
func TestRecallHidesNothing(t *testing.T) {
	w, n := counting(t, recall)
	phone, usb := synced(), key()
	p := w.enrol(ada, phone)
	must(w.authenticate(ada, stepUp, phone))(t)

	// Another gateway registers the first passkey that reaches the level.
	there := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Store: w.store, Now: w.clock.Now}))(t)
	elsewhere := &world{Service: there, t: t, store: w.store, clock: w.clock}
	elsewhere.enrolAnother(ada, phone, usb)
	if got := offered(t, w.start(ada, deviceBound)); got != 1 {
		t.Errorf("%d passkeys are offered", got)
	}
	must(w.authenticate(ada, stepUp, phone))(t)

	// And removes the one that was used.
	if _, err := elsewhere.remove(ada, p.ShortID(), elsewhere.reply(ada, removal(p), usb)); err != nil {
		t.Fatal(err)
	}
	*n = calls{}
	_, err := w.authenticate(ada, stepUp, phone)
	refused(t, err, passkey.PasskeyUnknown)
	if (*n != calls{issue: 1}) {
		t.Errorf("%+v", *n)
	}
	must(w.authenticate(ada, stepUp, usb))(t) // is offered now
	if (*n != calls{issue: 1, begin: 1}) {
		t.Errorf("%+v", *n)
	}

	// Erased elsewhere: a start that still offers something leads nowhere, and the next says how it is.
	if _, err := elsewhere.Erase(t.Context(), ada.User, ""); err != nil {
		t.Fatal(err)
	}
	_, err = w.authenticate(ada, stepUp, usb)
	refused(t, err, passkey.PasskeyUnknown)
	_, err = w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.NoPasskey)
}

// TestRecallFails: a store that can't write the challenge is unavailable, recalled or not.
func TestRecallFails(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f), recall), key()
	w.enrol(ada, a)
	must(w.authenticate(ada, stepUp, a))(t)
	f.issue = func() error { return passkey.StoreUnavailable }
	_, err := w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.StoreUnavailable)
}

// TestRecallHoldsTheNameOnly: of what the user's name was cut from, such as the password behind basic auth, a service keeps nothing.
func TestRecallHoldsTheNameOnly(t *testing.T) {
	w, a := newWorld(t, recall), key()
	w.enrol(ada, a)
	var header weak.Pointer[byte]
	func() {
		text := []byte(ada.User + ":password, and enough behind it to be allocated alone")
		header = weak.Make(&text[0])
		party := ada
		party.User = unsafe.String(&text[0], len(ada.User)) // as strings.Cut shares its argument
		must(w.authenticate(party, stepUp, a))(t)
	}()
	runtime.GC()
	if header.Value() != nil {
		t.Error("the whole of it is still there")
	}
	if got := offered(t, w.start(ada, stepUp)); got != 1 {
		t.Errorf("%d passkeys are offered", got)
	}
}
