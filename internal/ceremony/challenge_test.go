package ceremony_test

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestA1_ReplyWorksOnce(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	reply := w.reply(ada, stepUp, a)
	if _, err := w.finish(ada, stepUp, reply); err != nil {
		t.Fatal(err)
	}
	_, err := w.finish(ada, stepUp, reply)
	refused(t, err, passkey.ChallengeUsed)
}

// TestFinishedElsewhere: the reply is right, but who brings it, or where, or what for, is not. The last column says
// whether the rightful party can still use the challenge: what the store's condition refuses leaves it alone, because
// otherwise anybody could spoil the ceremonies of others.
func TestFinishedElsewhere(t *testing.T) {
	elsewhere := func(change func(*ceremony.Party)) ceremony.Party {
		p := ada
		change(&p)
		return p
	}
	for _, test := range []struct {
		name    string
		party   ceremony.Party
		purpose ceremony.Purpose
		want    passkey.Refusal
		alive   bool
	}{
		{"A2 other browser", elsewhere(func(p *ceremony.Party) { p.Browser = bob.Browser }), stepUp, passkey.BrowserMismatch, true},
		{"A2 no browser cookie", elsewhere(func(p *ceremony.Party) { p.Browser = passkey.Digest{} }), stepUp, passkey.BrowserMismatch, true},
		{"A2 other first-factor session", elsewhere(func(p *ceremony.Party) { p.Session = bob.Session }), stepUp, passkey.SessionMismatch, false},
		{"A2 no first-factor session", elsewhere(func(p *ceremony.Party) { p.Session = passkey.Digest{} }), stepUp, passkey.SessionMismatch, false},
		{"A6 other user", bob, stepUp, passkey.ChallengeUsed, true},
		{"A6 other user in the same browser", elsewhere(func(p *ceremony.Party) { p.User = bob.User }), stepUp, passkey.ChallengeUsed, true},
		{"D7 user in another case", elsewhere(func(p *ceremony.Party) { p.User = "Ada@example.com" }), stepUp, passkey.ChallengeUsed, true},
		{"no user", elsewhere(func(p *ceremony.Party) { p.User = "" }), stepUp, passkey.UserMissing, true},
		{"A16 other host", elsewhere(func(p *ceremony.Party) { p.Origin = other }), stepUp, passkey.OriginMismatch, false},
		{"host of nobody", elsewhere(func(p *ceremony.Party) { p.Origin = "https://evil.example" }), stepUp, passkey.OriginUnknown, true},
		{"A15 higher level", ada, deviceBound, passkey.CeremonyMismatch, false},
		{"lower level", ada, present, passkey.CeremonyMismatch, false},
		{"other action", ada, add, passkey.CeremonyMismatch, false},
		{"no level", ada, ceremony.Purpose{Action: passkey.StepUp}, passkey.Internal, true},
		{"no action", ada, ceremony.Purpose{Level: passkey.Verified}, passkey.Internal, true},
		{"A13 registration", ada, ceremony.Purpose{Action: passkey.Another, Level: passkey.Verified}, passkey.Internal, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, a := newWorld(t), key()
			w.enrol(ada, a)
			w.enrol(bob, key())
			reply := w.reply(ada, stepUp, a)
			_, err := w.finish(test.party, test.purpose, reply)
			refused(t, err, test.want)
			_, err = w.finish(ada, stepUp, reply)
			if test.alive && err != nil {
				t.Errorf("the rightful finish: %v", err)
			} else if !test.alive {
				refused(t, err, passkey.ChallengeUsed)
			}
		})
	}
}

// TestRemovalNamesItsTarget: what was authorised is the removal of one passkey and nothing else (docs/rules.md, rule 9).
func TestRemovalNamesItsTarget(t *testing.T) {
	w, a := newWorld(t), key()
	first := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, key())
	for _, asked := range []ceremony.Purpose{stepUp, add, removal(first)} {
		_, err := w.remove(ada, second.ShortID(), w.reply(ada, asked, a))
		refused(t, err, passkey.CeremonyMismatch)
	}
	_, err := w.finish(ada, stepUp, w.reply(ada, removal(second), a))
	refused(t, err, passkey.CeremonyMismatch)
	_, err = w.StartRegistration(t.Context(), ada, "", w.reply(ada, stepUp, a))
	refused(t, err, passkey.CeremonyMismatch)
	same(t, len(w.account(ada.User).Passkeys), 2)
	if _, err := w.remove(ada, second.ShortID(), w.reply(ada, removal(second), a)); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

func TestA3_ConcurrentFinishes(t *testing.T) {
	w, a := newWorld(t), authtest.New(authtest.Config{Counts: true})
	w.enrol(ada, a)
	reply := w.reply(ada, stepUp, a)
	another := must(ceremony.New(ceremony.Config{ // a second gateway on the same store
		RPID: rpID, Origins: []string{origin}, Store: w.store, Now: w.clock.Now,
	}))(t)
	results := make(chan error, 64)
	var start sync.WaitGroup
	start.Add(1)
	for i := range cap(results) {
		service := []*ceremony.Service{w.Service, another}[i%2]
		go func() {
			start.Wait()
			_, err := service.Finish(t.Context(), ada, stepUp, reply)
			results <- err
		}()
	}
	start.Done()
	won := 0
	for range cap(results) {
		if err := <-results; err == nil {
			won++
		} else {
			refused(t, err, passkey.ChallengeUsed)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d finishes of one challenge succeeded, want 1", won, cap(results))
	}
}

// TestA5_OtherUsersPasskey: the challenge is Ada's, the signature Bob's, in Bob's session or in Ada's.
func TestA5_OtherUsersPasskey(t *testing.T) {
	w, adas, bobs := newWorld(t), key(), key()
	w.enrol(ada, adas)
	w.enrol(bob, bobs)
	reply := must(bobs.Authenticate(w.start(ada, stepUp), origin, authtest.Obstinate()))(t)
	_, err := w.finish(bob, stepUp, reply)
	refused(t, err, passkey.ChallengeUsed)
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.PasskeyUnknown)

	// A28: signed with Bob's key, claiming to be Ada's passkey.
	id := adas.Credentials()[0].ID
	reply = must(bobs.Authenticate(w.start(ada, stepUp), origin, authtest.Obstinate(), authtest.As(id), authtest.UserHandle(nil)))(t)
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.SignatureInvalid)
}

func TestA7A8_Expiry(t *testing.T) {
	for _, test := range []struct {
		after time.Duration
		alive bool
	}{{5*time.Minute - time.Second, true}, {5 * time.Minute, false}, {5*time.Minute + time.Second, false}, {48 * time.Hour, false}} {
		w, a := newWorld(t), key()
		w.enrol(ada, a)
		reply := w.reply(ada, stepUp, a)
		w.clock.Advance(test.after)
		_, err := w.finish(ada, stepUp, reply)
		switch {
		case !test.alive:
			refused(t, err, passkey.ChallengeExpired)
		case err != nil:
			t.Errorf("after %v: %v", test.after, err)
		}
	}
}

// TestA10A11_NobodyStarted: a challenge of the client's own, and one of another relying party's store.
func TestA10A11_NobodyStarted(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	invented := bytes.Repeat([]byte{7}, 32)
	_, err := w.authenticate(ada, stepUp, a, authtest.Challenge(invented), authtest.BodyMember("challenge", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"))
	refused(t, err, passkey.ChallengeUsed)

	elsewhere := newWorld(t)
	elsewhere.enrol(ada, a)
	reply := elsewhere.reply(ada, stepUp, a)
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.ChallengeUsed)
	if _, err := elsewhere.finish(ada, stepUp, reply); err != nil {
		t.Errorf("positive control: %v", err)
	}
}

// TestA12A13_KindsDoNotMix: a registration's challenge signed as an authentication and the other way round.
func TestA12A13_KindsDoNotMix(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	creation := w.startRegistration(ada, "", w.reply(ada, add, a))
	request := w.start(ada, stepUp)
	signed := must(a.Authenticate(request, origin, authtest.Challenge(challengeOf(t, creation))))(t)
	_, err := w.finish(ada, stepUp, signed)
	refused(t, err, passkey.CeremonyMismatch)
	created := must(key().Register(creation, origin, authtest.Challenge(challengeOf(t, request))))(t)
	_, err = w.finishRegistration(ada, "", created)
	refused(t, err, passkey.CeremonyMismatch)
	same(t, len(w.account(ada.User).Passkeys), 1)
}

func TestA29_PasskeyRemovedMeanwhile(t *testing.T) {
	w, first, second := newWorld(t), key(), key()
	w.enrol(ada, first)
	p := w.enrolAnother(ada, first, second)
	early, late := w.reply(ada, stepUp, second), w.reply(ada, stepUp, first)
	if _, err := w.remove(ada, p.ShortID(), w.reply(ada, removal(p), first)); err != nil {
		t.Fatal(err)
	}
	_, err := w.finish(ada, stepUp, early)
	refused(t, err, passkey.PasskeyUnknown)
	if _, err := w.finish(ada, stepUp, late); err != nil {
		t.Errorf("the other passkey: %v", err)
	}
}

// TestRemovedBeforeTheWrite: the passkey goes between verifying and recording its use. No proof comes of it, and it does
// not come back.
func TestRemovedBeforeTheWrite(t *testing.T) {
	f := &faulty{}
	w, first, second := newWorld(t, onFaulty(f)), key(), key()
	w.enrol(ada, first)
	p := w.enrolAnother(ada, first, second)
	f.use = func(passkey.Use) error {
		f.use = nil
		next := must(w.account(ada.User).User.Removing(p.ID))(t)
		return f.Store.Remove(t.Context(), next, p.ID)
	}
	_, err := w.authenticate(ada, stepUp, second)
	refused(t, err, passkey.PasskeyUnknown)
	same(t, len(w.account(ada.User).Passkeys), 1)
}

// TestA48_NoPasskeyAtAll: Yubico's advisory YSA-2026-02 is about a user without credentials for whom somebody else's
// passed.
func TestA48_NoPasskeyAtAll(t *testing.T) {
	w, bobs := newWorld(t), key()
	w.enrol(bob, bobs)
	_, err := w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.NoPasskey)

	// A challenge from when she still had one, signed with Bob's.
	adas := key()
	p := w.enrol(ada, adas)
	reply := must(bobs.Authenticate(w.start(ada, stepUp), origin, authtest.Obstinate()))(t)
	if err := w.store.Remove(t.Context(), must(w.account(ada.User).User.Removing(p.ID))(t), p.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.PasskeyUnknown)
}

// TestForeignRecord: a record of another relying party, should a store ever hand one out, is not ours to finish.
func TestForeignRecord(t *testing.T) {
	f := &faulty{record: func(c *passkey.Challenge) { c.RPID = "example.org" }}
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	careless := must(ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{origin}, Store: f, Now: w.clock.Now}))(t)
	f.Store = w.store
	_, err := careless.Finish(t.Context(), ada, stepUp, w.reply(ada, stepUp, a))
	refused(t, err, passkey.RelyingPartyMismatch)
}

// TestTabs: ceremonies of one user in several tabs do not disturb each other, in whatever order they finish.
func TestTabs(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	var replies [][]byte
	for range 5 {
		replies = append(replies, w.reply(ada, stepUp, a))
	}
	slices.Reverse(replies)
	for i, reply := range replies {
		if _, err := w.finish(ada, stepUp, reply); err != nil {
			t.Errorf("tab %d: %v", i, err)
		}
	}
}

// TestStoreUnavailable: whatever call of the store fails, the ceremony fails with it and nothing is proved or written.
func TestStoreUnavailable(t *testing.T) {
	down := func() error { return passkey.StoreUnavailable }
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	p := w.enrol(ada, a)
	second := w.enrolAnother(ada, a, key())
	before := w.account(ada.User)
	w.clock.Advance(ceremony.Lately) // else the use would not be written

	f.begin = down
	_, err := w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.StartRegistration(t.Context(), bob, "", nil)
	refused(t, err, passkey.StoreUnavailable)
	f.begin = nil

	reply := w.reply(ada, stepUp, a)
	f.consume = down
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.StoreUnavailable)
	f.consume = nil

	f.use = func(passkey.Use) error { return passkey.StoreUnavailable }
	_, err = w.finish(ada, stepUp, reply)
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.remove(ada, second.ShortID(), w.reply(ada, removal(second), a))
	refused(t, err, passkey.StoreUnavailable)
	f.use = nil
	same(t, w.account(ada.User), before)

	f.register, f.rename, f.remove, f.revoke = down, down, down, down
	_, err = w.finishRegistration(bob, "", must(key().Register(w.startRegistration(bob, "", nil), origin))(t))
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.Rename(t.Context(), ada.User, p.ShortID(), "new")
	refused(t, err, passkey.StoreUnavailable)
	_, err = w.remove(ada, second.ShortID(), w.reply(ada, removal(second), a))
	refused(t, err, passkey.StoreUnavailable)
	refused(t, w.Revoke(t.Context(), ada.User), passkey.StoreUnavailable)
	f.account = down
	refused(t, w.Revoke(t.Context(), ada.User), passkey.StoreUnavailable)
	_, err = w.Rename(t.Context(), ada.User, p.ShortID(), "new")
	refused(t, err, passkey.StoreUnavailable)
	f.account = nil
	same(t, w.account(bob.User).User.Version, uint64(0))
	same(t, w.account(ada.User).User, before.User)
}

// noEntropy is a source of randomness that has none.
type noEntropy struct{}

func (noEntropy) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestNoEntropy(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	creation := w.startRegistration(bob, "", nil)
	w.SetRandom(noEntropy{})
	_, err := w.Start(t.Context(), ada, stepUp)
	refused(t, err, passkey.Internal)
	_, err = w.StartRegistration(t.Context(), bob, "", nil)
	refused(t, err, passkey.Internal)
	_, err = w.finishRegistration(bob, "", must(key().Register(creation, origin))(t))
	refused(t, err, passkey.Internal) // no epoch
	refused(t, w.Revoke(t.Context(), ada.User), passkey.Internal)
	same(t, w.account(bob.User).User.Version, uint64(0))
}
