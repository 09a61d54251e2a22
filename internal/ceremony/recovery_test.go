package ceremony_test

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

var makeCodes = ceremony.Purpose{Action: passkey.MakeCodes}

// enrolWithCodes registers the first passkey of a person and returns it with their recovery codes.
func (w *world) enrolWithCodes(p ceremony.Party, a *authtest.Authenticator) (passkey.Passkey, []string) {
	w.t.Helper()
	reply := must(a.Register(w.startRegistration(p, "", nil), p.Origin))(w.t)
	registered := must(w.finishRegistration(p, "", reply))(w.t)
	if len(registered.Codes) != passkey.RecoveryCodes || registered.CodesLeft != passkey.RecoveryCodes {
		w.t.Fatalf("%d codes, %d left", len(registered.Codes), registered.CodesLeft)
	}
	return registered.Passkey, registered.Codes
}

// recover registers a passkey by a recovery code.
func (w *world) recover(p ceremony.Party, code string, a *authtest.Authenticator) (ceremony.Registered, error) {
	w.t.Helper()
	options, err := w.StartRecovered(w.t.Context(), p, "", code)
	if err != nil {
		return ceremony.Registered{}, err
	}
	return w.finishRegistration(p, "", must(a.Register(options, p.Origin))(w.t))
}

func (w *world) makeCodes(p ceremony.Party, a *authtest.Authenticator) []string {
	w.t.Helper()
	return must(w.MakeCodes(w.t.Context(), p, w.reply(p, makeCodes, a)))(w.t).Codes
}

// A recovery code registers one passkey of one user, once, and what it registers is bounded.
func TestRecoveryCode(t *testing.T) {
	w, a := newWorld(t), key()
	_, codes := w.enrolWithCodes(ada, a)
	_, bobs := w.enrolWithCodes(bob, key())
	seen := map[string]bool{}
	for _, code := range codes {
		letters := strings.ReplaceAll(code, "-", "")
		if len(letters) != 16 || strings.Trim(letters, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || seen[code] { // 16 letters of 5 bits: 80 bits
			t.Errorf("code %q", code)
		}
		seen[code] = true
		for _, digest := range w.account(ada.User).User.Recovery.Codes {
			if strings.Contains(string(digest[:]), letters[:8]) {
				t.Error("a code is kept")
			}
		}
	}
	before := w.account(ada.User)
	for what, code := range map[string]string{"somebody else's": bobs[0], "made up": "AAAA-AAAA-AAAA-AAAA", "half": codes[0][:9], "none": "", "huge": strings.Repeat("A", 1<<16)} {
		_, err := w.StartRecovered(t.Context(), ada, "", code)
		t.Log(what)
		refused(t, err, passkey.RecoveryCodeInvalid)
	}
	_, err := w.StartRecovered(t.Context(), person("nobody"), "", codes[0])
	refused(t, err, passkey.RecoveryCodeInvalid)
	same(t, w.account(ada.User), before)

	b := key()
	registered, err := w.recover(ada, strings.ToLower(strings.ReplaceAll(codes[3], "-", " ")), b)
	if err != nil || registered.Action != passkey.Recovered || registered.CodesLeft != 7 || registered.Codes != nil || registered.Passkey.MaxLevel != passkey.Verified {
		t.Fatalf("%+v, %v", registered, err)
	}
	_, err = w.recover(ada, codes[3], key())
	refused(t, err, passkey.RecoveryCodeInvalid)
	same(t, string(w.account(ada.User).User.Handle), string(before.User.Handle))
	same(t, len(w.account(ada.User).User.Recovery.Codes), 7)

	// It works, as far as it goes, though its authenticator claims to be bound to a device.
	same(t, must(w.authenticate(ada, stepUp, b))(t).Level, passkey.Verified)
	_, err = w.finish(ada, deviceBound, must(b.Authenticate(w.start(ada, deviceBound), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.finish(ada, add, must(b.Authenticate(w.start(ada, add), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.LevelUnreachable) // the lost one reaches higher, and is registered still
	_, err = w.finish(ada, removal(before.Passkeys[0]), must(b.Authenticate(w.start(ada, removal(before.Passkeys[0])), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.LevelUnreachable)
	_, err = w.finish(ada, makeCodes, must(b.Authenticate(w.start(ada, makeCodes), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.LevelUnreachable)
}

// What a recovery code registered hands its bound down; what an older passkey adds has none.
func TestRecoveryBoundIsInherited(t *testing.T) {
	w, a, b, c := newWorld(t), key(), key(), key()
	first, codes := w.enrolWithCodes(ada, a)
	must(w.recover(ada, codes[0], b))(t)
	same(t, w.enrolAnother(ada, a, key()).MaxLevel, passkey.Level(0))
	for _, p := range w.account(ada.User).Passkeys {
		if p.MaxLevel == 0 && p.ShortID() != first.ShortID() {
			must(w.remove(ada, p.ShortID(), w.reply(ada, removal(p), a)))(t)
		}
	}
	must(w.remove(ada, first.ShortID(), w.reply(ada, removal(first), a)))(t)
	same(t, w.enrolAnother(ada, b, c).MaxLevel, passkey.Verified)
	_, err := w.Start(t.Context(), ada, deviceBound)
	refused(t, err, passkey.LevelUnreachable)

	// An administrator's word lifts it.
	d := key()
	must(w.accept(ada, w.invite(ada.User), d))(t)
	same(t, must(w.authenticate(ada, deviceBound, d))(t).Level, passkey.DeviceBound)
}

func TestRecoveryLevelIsConfigured(t *testing.T) {
	w, b := newWorld(t, func(c *ceremony.Config) { c.RecoveryLevel = passkey.DeviceBound }), key()
	_, codes := w.enrolWithCodes(ada, key())
	must(w.recover(ada, codes[0], b))(t)
	same(t, must(w.authenticate(ada, deviceBound, b))(t).Level, passkey.DeviceBound)
	config := ceremony.Config{RPID: rpID, Origins: []string{origin}, Store: w.store, RecoveryLevel: passkey.Present}
	if _, err := ceremony.New(config); err == nil {
		t.Error("recovery level present is accepted")
	}
}

// Codes that are switched off are neither made nor taken.
func TestRecoveryOff(t *testing.T) {
	w, a := newWorld(t), key()
	_, codes := w.enrolWithCodes(ada, a)
	started := must(w.StartRecovered(t.Context(), ada, "", codes[0]))(t)
	authorization := w.reply(ada, makeCodes, a)

	off := ceremony.Config{RPID: rpID, Origins: []string{origin, other}, Now: w.clock.Now, Store: w.store, NoRecovery: true}
	w.Service = must(ceremony.New(off))(t)
	_, err := w.StartRecovered(t.Context(), ada, "", codes[0])
	refused(t, err, passkey.RecoveryOff)
	_, err = w.finishRegistration(ada, "", must(key().Register(started, origin))(t))
	refused(t, err, passkey.RecoveryOff)
	_, err = w.Start(t.Context(), ada, makeCodes)
	refused(t, err, passkey.RecoveryOff)
	_, err = w.MakeCodes(t.Context(), ada, authorization)
	refused(t, err, passkey.RecoveryOff)
	registered := must(w.finishRegistration(bob, "", must(key().Register(w.startRegistration(bob, "", nil), origin))(t)))(t)
	same(t, len(registered.Codes), 0)
	same(t, w.account(bob.User).User.Recovery, passkey.Recovery{})
}

// New codes need a ceremony made for that, and take the place of the old ones.
func TestMakeCodes(t *testing.T) {
	w, a, phone := newWorld(t), key(), authtest.New(authtest.Config{Synced: true})
	_, old := w.enrolWithCodes(ada, a)
	w.enrolAnother(ada, a, phone)
	for what, purpose := range map[string]ceremony.Purpose{"a step-up": stepUp, "an add": add, "a removal": removal(w.account(ada.User).Passkeys[1])} {
		_, err := w.MakeCodes(t.Context(), ada, w.reply(ada, purpose, a))
		t.Log(what)
		refused(t, err, passkey.CeremonyMismatch)
	}
	_, err := w.finish(ada, stepUp, w.reply(ada, makeCodes, a))
	refused(t, err, passkey.CeremonyMismatch)
	_, err = w.StartRegistration(t.Context(), ada, "", w.reply(ada, makeCodes, a))
	refused(t, err, passkey.CeremonyMismatch)
	_, err = w.MakeCodes(t.Context(), ada, must(phone.Authenticate(w.start(ada, makeCodes), origin, authtest.Obstinate()))(t))
	refused(t, err, passkey.LevelUnreachable) // codes would outlive it
	_, err = w.Start(t.Context(), bob, makeCodes)
	refused(t, err, passkey.NoPasskey)

	codes := w.makeCodes(ada, a)
	same(t, len(codes), passkey.RecoveryCodes)
	_, err = w.recover(ada, old[0], key())
	refused(t, err, passkey.RecoveryCodeInvalid)
	must(w.recover(ada, codes[0], key()))(t)

	// A code spent between the two steps stays spent; one replaced between them is worth nothing.
	options := must(w.StartRecovered(t.Context(), ada, "", codes[1]))(t)
	w.makeCodes(ada, a)
	_, err = w.finishRegistration(ada, "", must(key().Register(options, origin))(t))
	refused(t, err, passkey.RecoveryCodeInvalid)
}

// One code, many browsers: it registers one passkey.
func TestRecoveryCodeOnce(t *testing.T) {
	const racers = 64
	w := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = 100 })
	_, codes := w.enrolWithCodes(ada, key())
	replies := make([][]byte, racers)
	for i := range replies {
		replies[i] = must(key().Register(must(w.StartRecovered(t.Context(), ada, "", codes[0]))(t), origin))(t)
	}
	var (
		wait sync.WaitGroup
		mu   sync.Mutex
		got  = map[string]int{}
	)
	for _, reply := range replies {
		wait.Go(func() {
			_, err := w.FinishRegistration(t.Context(), ada, ceremony.Naming{}, reply)
			reason := "registered"
			if refusal := passkey.Refusal(""); errors.As(err, &refusal) {
				reason = string(refusal)
			}
			mu.Lock()
			defer mu.Unlock()
			got[reason]++
		})
	}
	wait.Wait()
	if diff := cmp.Diff(map[string]int{"registered": 1, string(passkey.RecoveryCodeInvalid): racers - 1}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	same(t, len(w.account(ada.User).Passkeys), 2)
	same(t, len(w.account(ada.User).User.Recovery.Codes), passkey.RecoveryCodes-1)
}

// The last passkey goes when whoever removes it says that they know. A recovery code is the way back.
func TestRemoveLast(t *testing.T) {
	w, a := newWorld(t), key()
	p, codes := w.enrolWithCodes(ada, a)
	_, err := w.remove(ada, p.ShortID(), w.reply(ada, removal(p), a))
	refused(t, err, passkey.LastPasskey)
	must(w.Remove(t.Context(), ada, p.ShortID(), w.reply(ada, removal(p), a), true))(t)
	same(t, len(w.account(ada.User).Passkeys), 0)
	_, err = w.StartRegistration(t.Context(), ada, "", nil)
	refused(t, err, passkey.RegistrationClosed)
	_, err = w.Start(t.Context(), ada, makeCodes)
	refused(t, err, passkey.NoPasskey)
	registered := must(w.recover(ada, codes[0], a))(t)
	same(t, registered.CodesLeft, 7)
	same(t, len(registered.Codes), 0) // one code does not make eight

	keeping := newWorld(t, func(c *ceremony.Config) { c.KeepLast = true })
	p = keeping.enrol(ada, a)
	_, err = keeping.Start(t.Context(), ada, removal(p))
	refused(t, err, passkey.LastPasskey)
}

// Two removals of the last two passkeys at the same time: each was told that another one stays, so one of them does.
func TestRemoveLastTwo(t *testing.T) {
	for _, last := range []bool{false, true} {
		for range 8 {
			w, a, b := newWorld(t, func(c *ceremony.Config) { c.KeepLast = last }), key(), key()
			p, q := w.enrol(ada, a), w.enrolAnother(ada, a, b)
			removals := []func() error{}
			for _, of := range []struct {
				p passkey.Passkey
				a *authtest.Authenticator
			}{{p, a}, {q, b}} {
				reply := w.reply(ada, removal(of.p), of.a)
				removals = append(removals, func() error {
					_, err := w.Remove(t.Context(), ada, of.p.ShortID(), reply, last)
					return err
				})
			}
			var wait sync.WaitGroup
			errs := make([]error, len(removals))
			for i, remove := range removals {
				wait.Go(func() { errs[i] = remove() })
			}
			wait.Wait()
			same(t, len(w.account(ada.User).Passkeys), 1)
			if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), passkey.LastPasskey) {
				t.Errorf("last %t: %v", last, errs)
			}
		}
	}
}

// Reset leaves no code that is good for anything. So does Erase, see TestErase.
func TestRecoveryCodesEnd(t *testing.T) {
	w, a := newWorld(t), key()
	_, codes := w.enrolWithCodes(ada, a)
	options := must(w.StartRecovered(t.Context(), ada, "", codes[0]))(t)
	must(w.Reset(t.Context(), ada.User))(t)
	_, err := w.finishRegistration(ada, "", must(key().Register(options, origin))(t))
	refused(t, err, passkey.RecoveryCodeInvalid)
	_, err = w.StartRecovered(t.Context(), ada, "", codes[1])
	refused(t, err, passkey.RecoveryCodeInvalid)
	registered := must(w.accept(ada, w.invite(ada.User), a))(t)
	same(t, len(registered.Codes), passkey.RecoveryCodes) // whoever begins anew gets new ones
}

func TestErase(t *testing.T) {
	w, a := newWorld(t), key()
	_, codes := w.enrolWithCodes(ada, a)
	w.invite(ada.User)
	_, err := w.Erase(t.Context(), "nobody", "")
	refused(t, err, passkey.UserUnknown)
	stepping, adding, late := w.reply(ada, stepUp, a), w.reply(ada, add, a), w.reply(ada, stepUp, a)
	another := must(key().Register(w.startRegistration(ada, "", w.reply(ada, add, a)), origin))(t)
	old := must(key().Register(must(w.StartRecovered(t.Context(), ada, "", codes[0]))(t), origin))(t)
	handle := w.account(ada.User).User.Handle
	same(t, len(must(w.Erase(t.Context(), ada.User, ""))(t)), 1)
	same(t, w.account(ada.User), passkey.Account{User: passkey.User{Name: ada.User}})
	_, err = w.Erase(t.Context(), ada.User, "")
	refused(t, err, passkey.UserUnknown)

	// What was under way is of no use, and whoever comes next by this name gets nothing of the one before.
	_, err = w.finish(ada, stepUp, stepping)
	refused(t, err, passkey.PasskeyUnknown)
	_, err = w.StartRegistration(t.Context(), ada, "", adding)
	refused(t, err, passkey.PasskeyUnknown)
	_, err = w.finishRegistration(ada, "", old)
	refused(t, err, passkey.RecoveryCodeInvalid)
	w.enrol(ada, a)
	if now := w.account(ada.User).User; now.Version != 1 || bytes.Equal(now.Handle, handle) {
		t.Errorf("%+v", now)
	}
	_, err = w.finish(ada, stepUp, late)
	refused(t, err, passkey.PasskeyUnknown)
	_, err = w.finishRegistration(ada, "", another)
	refused(t, err, passkey.AuthorizationNeeded)

	// Somebody who was only invited is forgotten too.
	w.invite("eve")
	must(w.Erase(t.Context(), "eve", ""))(t)
	same(t, w.account("eve"), passkey.Account{User: passkey.User{Name: "eve"}})
}

// The answer to the write of new codes is lost: the earlier ones are gone, so the person gets to see the new ones.
func TestMakeCodesWhoseAnswerIsLost(t *testing.T) {
	f := &faulty{}
	w, a := newWorld(t, onFaulty(f)), key()
	w.enrolWithCodes(ada, a)
	for what, lost := range map[string]passkey.Refusal{"unavailable": passkey.StoreUnavailable, "conflict": passkey.Conflict} {
		reply := w.reply(ada, makeCodes, a)
		f.applied = lost
		made, err := w.MakeCodes(t.Context(), ada, reply)
		f.applied = ""
		if err != nil || len(made.Codes) != passkey.RecoveryCodes {
			t.Fatalf("%s: %v, %v", what, made.Codes, err)
		}
		if err := w.account(ada.User).User.Recovery.Check(passkey.CodeID(made.Codes[0])); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Whoever lost as many passkeys as they may have can remove none to make room: a code registers one beyond.
func TestRecoveryCodeBeyondTheLimit(t *testing.T) {
	w := newWorld(t, func(c *ceremony.Config) { c.MaxPasskeys = 1 })
	_, codes := w.enrolWithCodes(ada, key())
	b := key()
	must(w.recover(ada, codes[0], b))(t)
	must(w.recover(ada, codes[1], key()))(t)
	must(w.authenticate(ada, stepUp, b))(t)
	same(t, len(w.account(ada.User).Passkeys), 3)
}
