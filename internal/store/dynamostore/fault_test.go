package dynamostore_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// scene is a store behind a fault proxy, with a user who has two passkeys and a challenge under way. direct is the same
// store without the proxy.
type scene struct {
	t             *testing.T
	ctx           context.Context
	proxy         *faulttest.Proxy
	store, direct *dynamostore.Store
	user          passkey.User
	laptop, phone passkey.Passkey
	issued        passkey.Challenge
}

func newScene(t *testing.T) *scene { return newSceneWith(t, dynamostore.Options{}) }

func newSceneWith(t *testing.T, opts dynamostore.Options) *scene {
	t.Helper()
	tables := newTables(t)
	s := &scene{t: t, ctx: t.Context(), proxy: faulttest.New(t, endpoint), direct: tables.open(dynamostore.Options{}).For(rpID)}
	opts.Endpoint = s.proxy.URL
	s.store = tables.open(opts).For(rpID)
	s.laptop, s.phone = newPasskey("laptop"), newPasskey("phone")
	s.laptop.SignCount = 10
	register(t, s.direct, "ada", s.laptop)
	s.user = register(t, s.direct, "ada", s.phone)
	s.issued = newChallenge("ada", "issued")
	_, err := s.direct.Begin(t.Context(), s.issued)
	must(t, err)
	return s
}

// write is one method that writes: the call it writes by, and how to see that it was applied.
type write struct {
	name, operation string
	do              func(s *scene) error
	applied         func(s *scene) bool
}

var writes = []write{
	{"Begin", "PutItem", func(s *scene) error {
		_, err := s.store.Begin(s.ctx, newChallenge("ada", "new"))
		return err
	}, func(s *scene) bool {
		_, _, err := s.direct.Consume(s.t.Context(), claimOf(newChallenge("ada", "new")), now)
		return err == nil
	}},
	{"Consume", "DeleteItem", func(s *scene) error {
		_, _, err := s.store.Consume(s.ctx, claimOf(s.issued), now)
		return err
	}, func(s *scene) bool {
		_, _, err := s.direct.Consume(s.t.Context(), claimOf(s.issued), now)
		return errors.Is(err, passkey.ChallengeUsed)
	}},
	{"Use", "UpdateItem", func(s *scene) error {
		return s.store.Use(s.ctx, "ada", passkey.Use{ID: s.laptop.ID, Ceremony: passkey.ChallengeID([]byte("use")), SignCount: 11, At: now})
	}, func(s *scene) bool {
		p, _ := s.account().Passkey(s.laptop.ID)
		return p.SignCount == 11
	}},
	{"Register", "TransactWriteItems", func(s *scene) error {
		next, err := s.user.Adding(newPasskey("new"))
		must(s.t, err)
		return s.store.Register(s.ctx, next, newPasskey("new"))
	}, func(s *scene) bool { return len(s.account().Passkeys) == 3 }},
	{"Rename", "TransactWriteItems", func(s *scene) error {
		next, err := s.user.Renaming(s.phone.ID, "tablet")
		must(s.t, err)
		return s.store.Rename(s.ctx, next, s.phone.ID, "tablet")
	}, func(s *scene) bool {
		p, _ := s.account().Passkey(s.phone.ID)
		return p.Name == "tablet"
	}},
	{"Remove", "TransactWriteItems", func(s *scene) error {
		next, err := s.user.Removing(s.phone.ID)
		must(s.t, err)
		return s.store.Remove(s.ctx, next, s.phone.ID)
	}, func(s *scene) bool { return len(s.account().Passkeys) == 1 }},
	{"ChangeUser", "TransactWriteItems", func(s *scene) error {
		return s.store.ChangeUser(s.ctx, s.user.InEpoch(passkey.Epoch{7}))
	}, func(s *scene) bool { return s.account().User.Epoch == passkey.Epoch{7} }},
	{"Use that learns", "UpdateItem", func(s *scene) error {
		imported := newPasskey("imported")
		imported.BackupUnknown, imported.BackupEligible, imported.BackedUp = true, false, false
		if _, again := s.account().Passkey(imported.ID); !again {
			register(s.t, s.direct, "ada", imported)
		}
		return s.store.Use(s.ctx, "ada", passkey.Use{ID: imported.ID, Ceremony: passkey.ChallengeID([]byte("use")), SignCount: 11, At: now, LearnBackup: true, BackupEligible: true})
	}, func(s *scene) bool {
		p, _ := s.account().Passkey(newPasskey("imported").ID)
		return p.BackupEligible && !p.BackupUnknown
	}},
	{"Register by a recovery code", "TransactWriteItems", func(s *scene) error {
		with := s.user.WithRecovery(passkey.Recovery{Codes: []passkey.Digest{passkey.CodeDigest("one")}, MadeAt: now})
		if s.account().User.Version == s.user.Version { // not when it is tried again: the first try may have arrived late
			must(s.t, s.direct.ChangeUser(s.t.Context(), with))
		}
		spent, err := with.Spending(passkey.CodeID("one"))
		must(s.t, err)
		next, err := spent.Adding(newPasskey("new"))
		must(s.t, err)
		return s.store.Register(s.ctx, next, newPasskey("new"))
	}, func(s *scene) bool {
		return len(s.account().Passkeys) == 3 && len(s.account().User.Recovery.Codes) == 0
	}},
	{"RegisterInvited", "TransactWriteItems", func(s *scene) error {
		if s.account().User.Version == s.user.Version {
			must(s.t, s.direct.Invite(s.t.Context(), "ada", passkey.Invitation{ID: "one", Expires: now}))
		}
		next, err := s.user.Adding(newPasskey("new"))
		must(s.t, err)
		return s.store.RegisterInvited(s.ctx, next, newPasskey("new"), "one")
	}, func(s *scene) bool { return len(s.account().Passkeys) == 3 && s.account().Invitation.ID == "" }},
	{"Erase", "TransactWriteItems", func(s *scene) error {
		for _, p := range s.account().Passkeys {
			next, err := s.account().User.Removing(p.ID)
			must(s.t, err)
			must(s.t, s.direct.Remove(s.t.Context(), next, p.ID))
		}
		must(s.t, s.direct.Invite(s.t.Context(), "ada", passkey.Invitation{ID: "one", Expires: now}))
		return s.store.Erase(s.ctx, s.account().User, "one")
	}, func(s *scene) bool { return s.account().User.Version == 0 && s.account().Invitation.ID == "" }},
}

func (s *scene) account() passkey.Account {
	s.t.Helper()
	account, err := s.direct.Account(s.t.Context(), "ada")
	must(s.t, err)
	return account
}

// A fault that passes is not noticed: the call is made again.
func TestPassingFaultIsNotNoticed(t *testing.T) {
	for _, w := range writes {
		for _, kind := range []faulttest.Kind{
			faulttest.Throttle, faulttest.RequestLimit, faulttest.ServerError, faulttest.HTML503, faulttest.DropBefore, faulttest.ResetBefore, faulttest.Conflict,
		} {
			if kind == faulttest.Conflict && w.operation != "TransactWriteItems" && w.operation != "UpdateItem" {
				continue // what no transaction touches
			}
			t.Run(w.name+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.proxy.Inject(faulttest.Fault{Kind: kind, Operation: w.operation, Count: 3})
				s.proxy.Inject(faulttest.Fault{Kind: kind, Operation: "Query", Count: 2})
				err := w.do(s)
				if w.name == "Begin" && kind != faulttest.Throttle && kind != faulttest.RequestLimit {
					refused(t, "Begin", err, passkey.StoreUnavailable) // see TestLateChallenge
					if !errors.Is(err, ceremony.ErrUnsure) {
						t.Errorf("%v does not say that the challenge may come yet", err)
					}
					return
				}
				must(t, err)
				if !w.applied(s) {
					t.Error("it was not applied")
				}
			})
		}
	}
}

// The answer to a write that was applied is lost. The repeat is recognised: it is neither a conflict nor a clone. Only a
// consumed challenge can't be: it is used up, and whoever asked gets nothing for it.
func TestLostAnswerIsRecognised(t *testing.T) {
	for _, w := range writes {
		for _, kind := range []faulttest.Kind{faulttest.DropAfter, faulttest.ResetAfter, faulttest.Truncate, faulttest.Garble} {
			t.Run(w.name+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				s.proxy.Inject(faulttest.Fault{Kind: kind, Operation: w.operation, Count: 2})
				err := w.do(s)
				attempts := 3
				switch w.name {
				case "Begin":
					attempts = 1 // see TestLateChallenge
					refused(t, "Begin", err, passkey.StoreUnavailable)
					if !errors.Is(err, ceremony.ErrUnsure) {
						t.Errorf("%v does not say that the challenge may come yet", err)
					}
				case "Consume":
					refused(t, "Consume", err, passkey.StoreUnavailable)
				default:
					must(t, err)
				}
				if !w.applied(s) {
					t.Error("it was not applied")
				}
				tries := slices.DeleteFunc(s.proxy.Calls(), func(c faulttest.Call) bool { return c.Operation != w.operation })
				if len(tries) != attempts {
					t.Errorf("%d attempts, want %d: %v", len(tries), attempts, tries)
				}
			})
		}
	}
}

// Other answers than DynamoDB gives, and refusals that asking again would not change: an error, at once.
func TestLastingRefusal(t *testing.T) {
	for _, w := range writes {
		for _, kind := range []faulttest.Kind{faulttest.AccessDenied, faulttest.Expired, faulttest.ResourceNotFound} {
			t.Run(w.name+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				lift := s.proxy.Inject(faulttest.Fault{Kind: kind})
				refused(t, w.name, w.do(s), passkey.StoreUnavailable)
				for _, c := range s.proxy.Calls() {
					if c.Attempt > 1 {
						t.Errorf("asked again: %v", c)
					}
				}
				lift()
				must(t, w.do(s))
				if !w.applied(s) {
					t.Error("it was not applied")
				}
			})
		}
	}
}

// What goes on failing ends with the time that was given, whatever the kind, with an error that says so; once it is gone all is well.
func TestBudget(t *testing.T) {
	const budget = 300 * time.Millisecond
	for _, w := range writes {
		for _, kind := range []faulttest.Kind{faulttest.Throttle, faulttest.ServerError, faulttest.HTML503, faulttest.ResetBefore, faulttest.Hang} {
			t.Run(w.name+"/"+kind.String(), func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				lift := s.proxy.Inject(faulttest.Fault{Kind: kind})
				began := time.Now()
				var cancel context.CancelFunc
				s.ctx, cancel = context.WithTimeout(t.Context(), budget)
				defer cancel()
				refused(t, w.name, w.do(s), passkey.StoreUnavailable)
				if took := time.Since(began); took > 10*budget { // an order of magnitude, not a stopwatch
					t.Errorf("took %v with a budget of %v", took, budget)
				}
				lift()
				s.ctx = t.Context()
				must(t, w.do(s))
				if !w.applied(s) {
					t.Error("it was not applied")
				}
			})
		}
	}
}

// The write of a challenge hangs on its way and arrives when its ceremony is over: it must not make the challenge work again.
// So what a person gets is never a challenge whose write could come late.
func TestLateChallenge(t *testing.T) {
	s := newSceneWith(t, dynamostore.Options{Attempt: time.Second})
	const origin = "https://example.com"
	service, err := ceremony.New(ceremony.Config{RPID: rpID, RPName: "Example operations", Origins: []string{origin}, Store: s.store})
	must(t, err)
	bob := ceremony.Party{User: "bob", Origin: origin, Browser: passkey.DigestOf("browser"), Session: passkey.DigestOf("session")}
	key := authtest.New(authtest.Config{})
	begun, err := service.StartRegistration(t.Context(), bob, "", nil)
	must(t, err)
	reply, err := key.Register(begun.Options, origin)
	must(t, err)
	_, err = service.FinishRegistration(t.Context(), bob, ceremony.Naming{Name: "Key"}, reply)
	must(t, err)

	for _, kind := range []faulttest.Kind{faulttest.Hold, faulttest.HoldAfter, faulttest.DropAfter, faulttest.ServerError, faulttest.HTML503, faulttest.Truncate} {
		s.proxy.Inject(faulttest.Fault{Operation: "PutItem", Count: 1, Kind: kind})
		purpose := ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Verified}
		options, err := service.Start(t.Context(), bob, purpose)
		must(t, err)
		reply, err := key.Authenticate(options, origin)
		must(t, err)
		_, err = service.Finish(t.Context(), bob, purpose, reply)
		must(t, err)
		s.proxy.Lift()
		s.proxy.Settle()
		_, err = service.Finish(t.Context(), bob, purpose, reply)
		refused(t, kind.String()+": the same reply again", err, passkey.ChallengeUsed)
	}
}

// Without a deadline of the caller's the store's own budget ends what would go on for ever.
func TestOwnBudget(t *testing.T) {
	s := newSceneWith(t, dynamostore.Options{Budget: 200 * time.Millisecond})
	for _, kind := range []faulttest.Kind{faulttest.Throttle, faulttest.Hang} {
		lift := s.proxy.Inject(faulttest.Fault{Kind: kind})
		_, err := s.store.Account(t.Context(), "ada")
		refused(t, kind.String(), err, passkey.StoreUnavailable)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %v does not wrap context.DeadlineExceeded", kind, err)
		}
		lift()
	}
}

// One attempt that hangs does not use up the budget: another is made.
func TestHangingAttempt(t *testing.T) {
	s := newSceneWith(t, dynamostore.Options{Attempt: time.Second})
	s.proxy.Inject(faulttest.Fault{Kind: faulttest.Hang, Count: 2})
	_, _, err := s.store.Consume(t.Context(), claimOf(s.issued), now)
	must(t, err)
}

// A read that sees half of a transaction is made again; what goes on disagreeing is damage.
func TestTornRead(t *testing.T) {
	s := newScene(t)
	user := func([]byte) []byte {
		// The user record alone, as between the writes of a transaction.
		return []byte(`{"Count":1,"ScannedCount":1,"Items":[` + s.userRecord() + `]}`)
	}
	s.proxy.Inject(faulttest.Fault{Operation: "Query", Count: 3, Rewrite: user})
	account, err := s.store.Account(t.Context(), "ada")
	must(t, err)
	if len(account.Passkeys) != 2 {
		t.Errorf("%d passkeys", len(account.Passkeys))
	}
	lift := s.proxy.Inject(faulttest.Fault{Operation: "Query", Rewrite: user})
	_, err = s.store.Account(t.Context(), "ada")
	refused(t, "a read that never agrees with itself", err, passkey.StoreUnavailable)
	lift()
	_, err = s.store.Account(t.Context(), "ada")
	must(t, err)
}

// userRecord returns the user record as DynamoDB's answers spell it.
func (s *scene) userRecord() string {
	return `{"pk":{"S":"user#11:example.com#3:ada"},"sk":{"S":"user"},"v":{"N":"1"},"rp_id":{"S":"example.com"},"user":{"S":"ada"},` +
		`"version":{"N":"2"},"epoch":{"B":"AAAAAAAAAAAAAAAAAAAAAA=="},"passkeys":{"L":[` +
		`{"M":{"id":{"B":"Y3JlZGVudGlhbCBpZCBvZiBsYXB0b3A="},"folded_name":{"S":"laptop"}}},` +
		`{"M":{"id":{"B":"Y3JlZGVudGlhbCBpZCBvZiBwaG9uZQ=="},"folded_name":{"S":"phone"}}}]}}`
}

// Two transactions that always come between each other: a conflict, for the caller to read again, not a broken store.
func TestEndlessConflict(t *testing.T) {
	s := newScene(t)
	s.proxy.Inject(faulttest.Fault{Kind: faulttest.Conflict})
	refused(t, "ChangeUser", s.store.ChangeUser(t.Context(), s.user.InEpoch(passkey.Epoch{7})), passkey.Conflict)
	refused(t, "Use", s.store.Use(t.Context(), "ada", passkey.Use{ID: s.laptop.ID, Ceremony: "x", SignCount: 11, At: now}), passkey.StoreUnavailable)
}
