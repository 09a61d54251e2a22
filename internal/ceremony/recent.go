package ceremony

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Lately is how exact "last used" is, and how long a finished step-up is remembered. Within it another step-up with the same
// passkey need not be written, see [Service.Finish], and one from the same browser need not read which passkeys there are,
// see [Config.Recall].
const Lately = time.Minute

// maxRecent bounds how many users' last step-ups are remembered. At about 1.5 KB each that is 6 MB at the most.
const maxRecent = 4096

// stepUp is a step-up that succeeded: where, with which passkey, and what was read of the user when its challenge was consumed.
type stepUp struct {
	ceremony string    // the challenge's id
	at       time.Time // before anything was read
	browser  passkey.Digest
	passkey  []byte // credential id
	account  passkey.Account
}

// blind is the step-up without what it found.
func (s stepUp) blind() stepUp { return stepUp{ceremony: s.ceremony, at: s.at} }

// recent remembers the last step-up of each user for [Lately]. Nothing is decided on it but what the next one is offered, and, in
// depth, that its very challenge is refused, should a store give it out twice. Safe for concurrent use.
type recent struct {
	mu      sync.Mutex
	users   *simplelru.LRU[string, *stepUp] // never asked with Get: so the oldest entry is the one that was added first
	changes uint64
}

func newRecent() *recent {
	users, err := simplelru.NewLRU[string, *stepUp](maxRecent, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &recent{users: users}
}

// mark returns what [recent.add] has to be given, taken before the account is read.
func (r *recent) mark() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changes
}

// add remembers a user's step-up, without what it found if passkeys were changed here since the mark: that may be from before.
func (r *recent) add(user string, last stepUp, mark uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user = strings.Clone(user) // or it would hold what the name was cut from: with basic auth, the password
	last.account.User.Name = user
	if r.changes != mark {
		last = last.blind()
	}
	r.users.Add(user, &last)
	for { // what is too old is of no use, and nobody's business
		_, oldest, found := r.users.GetOldest()
		if !found || last.at.Sub(oldest.at) < Lately {
			return
		}
		r.users.RemoveOldest()
	}
}

// of returns a user's last step-up, the zero one when none is remembered.
func (r *recent) of(user string) stepUp {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, found := r.users.Peek(user); found {
		return *last
	}
	return stepUp{}
}

// doubt forgets what a user's last step-up found: the next start looks anew.
func (r *recent) doubt(user string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, found := r.users.Peek(user); found {
		*last = last.blind()
	}
}

// changed is doubt, also of what is being found now.
func (r *recent) changed(user string) {
	r.mu.Lock()
	r.changes++
	r.mu.Unlock()
	r.doubt(user)
}

// lately reports whether something was less than [Lately] before now. What is said to come after now was not: clocks differ.
func lately(at, now time.Time) bool {
	age := now.Sub(at)
	return !at.IsZero() && age >= 0 && age < Lately
}

// changing is a [Store] that has recent forget whose passkeys are changed, also on an error: the answer may have been lost after
// the write.
type changing struct {
	Store
	recent *recent
}

func (s changing) Register(ctx context.Context, next passkey.User, p passkey.Passkey) error {
	defer s.recent.changed(next.Name)
	return s.Store.Register(ctx, next, p)
}

func (s changing) RegisterInvited(ctx context.Context, next passkey.User, p passkey.Passkey, invitation string) error {
	defer s.recent.changed(next.Name)
	return s.Store.RegisterInvited(ctx, next, p, invitation)
}

func (s changing) Remove(ctx context.Context, next passkey.User, credentialID []byte) error {
	defer s.recent.changed(next.Name)
	return s.Store.Remove(ctx, next, credentialID)
}

func (s changing) Erase(ctx context.Context, user passkey.User, invitation string) error {
	defer s.recent.changed(user.Name)
	return s.Store.Erase(ctx, user, invitation)
}
