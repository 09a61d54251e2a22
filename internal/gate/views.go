package gate

import (
	"context"
	"crypto/sha256"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
)

// maxViews bounds how many users' views are held: those who came within one revocation lag. With the grant that was let pass last
// each takes about 1 kB, and as much again until the garbage is collected; with all of them, 180 to 190 MiB of anonymous
// memory were measured.
const maxViews = 100_000

// view is what the gate knows of a user, as of readAt: enough to judge grants without asking the store.
type view struct {
	user   passkey.Digest
	epoch  passkey.Epoch
	live   []grant.PasskeyID
	shorts []string // the short ids of live, in text
	readAt time.Time

	opened atomic.Pointer[opened] // the grant that was let pass last
}

// Views caches users' state for at most the revocation lag. A removed passkey or revoked grant is honoured for no longer
// than that; a lag of 0 reads at every request. Safe for concurrent use.
type Views struct {
	// Count, if it is set before the first use, is told where each view came from. It must be quick and safe for
	// concurrent use.
	Count func(Source)

	account func(ctx context.Context, user string) (passkey.Account, error)
	now     func() time.Time
	lag     time.Duration
	timeout time.Duration

	cache   *lru.Cache[string, *view]
	flights singleflight.Group
	mu      sync.Mutex // orders put against Forget
	changes atomic.Uint64
}

// NewViews returns an empty cache over read, which must be strongly consistent.
func NewViews(read func(ctx context.Context, user string) (passkey.Account, error), lag, timeout time.Duration, now func() time.Time) *Views {
	cache, err := lru.New[string, *view](maxViews)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Views{account: read, now: now, lag: lag, timeout: timeout, cache: cache}
}

// Source is where a view came from. The list is closed.
type Source string

// The sources.
const (
	Cached     Source = "cached" // it was there, and young enough
	Read       Source = "read"   // the store was asked for it
	Shared     Source = "shared" // another request was asking for it, or just had
	Unreadable Source = "error"  // there is none: the store did not say
)

func (v *Views) count(source Source) {
	if v.Count != nil {
		v.Count(source)
	}
}

// peek returns a view that is younger than the lag, if there is one, and what its clock shows. It asks nobody, and is not
// counted.
func (v *Views) peek(user string) (known *view, now time.Time) {
	now = v.now()
	return v.cached(user, now.Add(-v.lag), now), now
}

// held is peek, and counted.
func (v *Views) held(user string) *view {
	known, _ := v.peek(user)
	if known != nil {
		v.count(Cached)
	}
	return known
}

// read returns a view that was younger than the lag when it was asked for. Concurrent requests for one user share one
// read.
func (v *Views) read(ctx context.Context, user string) (*view, error) {
	return v.refresh(ctx, user, v.now().Add(-v.lag))
}

// renew returns a view that was read after now.
func (v *Views) renew(ctx context.Context, user string) (*view, error) {
	return v.refresh(ctx, user, v.now().Add(-1))
}

// cached returns the view held of a user, if it was read after floor and not in the future. It does not count as a use: a view
// is read anew once per lag as long as its user comes, so the oldest ones are of those who have gone.
func (v *Views) cached(user string, floor, now time.Time) *view {
	known, ok := v.cache.Peek(user)
	if !ok || !known.readAt.After(floor) || known.readAt.After(now) {
		return nil
	}
	return known
}

// age returns how old a view is. When it was read says nothing by another clock than that of the views.
func (v *Views) age(known *view) time.Duration { return v.now().Sub(known.readAt) }

// refresh reads the user, within the time limit, so that the view is from after floor. With a lag of 0 nothing is shared:
// a flight under way may have read before a revocation that was acknowledged since. Otherwise a flight under way will do
// if it began after floor; if not, those who wait share the next one.
func (v *Views) refresh(ctx context.Context, user string, floor time.Time) (*view, error) {
	known, asked, err := v.share(ctx, user, floor)
	switch {
	case err != nil:
		v.count(Unreadable)
	case asked:
		v.count(Read)
	default:
		v.count(Shared)
	}
	return known, err
}

// share is refresh, and reports whether the view was read for this very request.
func (v *Views) share(ctx context.Context, user string, floor time.Time) (known *view, asked bool, err error) {
	if v.lag <= 0 {
		known, err = v.load(ctx, user)
		return known, true, err
	}
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	for range 3 { // one under way, the next, and one for bad luck
		flew := new(bool)
		flight := v.flights.DoChan(user, func() (any, error) {
			if known := v.cached(user, floor, v.now()); known != nil {
				return known, nil // the flight before this one has just ended
			}
			*flew = true
			// One caller going away must not fail the others; the read has its own time limit.
			return v.load(context.WithoutCancel(ctx), user)
		})
		select {
		case result := <-flight:
			if result.Err != nil {
				return nil, false, result.Err
			}
			if read := result.Val.(*view); read.readAt.After(floor) {
				return read, *flew, nil
			}
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
	known, err = v.load(ctx, user) // a clock that jumps back puts every read before floor
	return known, true, err
}

func (v *Views) load(ctx context.Context, user string) (*view, error) {
	ctx, cancel := context.WithTimeout(ctx, v.timeout)
	defer cancel()
	changes := v.changes.Load()
	readAt := v.now() // the age counts from before the read
	account, err := v.account(ctx, user)
	if err != nil {
		return nil, err
	}
	fresh := &view{user: passkey.DigestOf(user), epoch: account.User.Epoch, readAt: readAt}
	for _, p := range account.Passkeys {
		fresh.live = append(fresh.live, passkeyID(p.ID))
		fresh.shorts = append(fresh.shorts, p.ShortID())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.changes.Load() == changes { // else the read may predate a change made here
		v.forgetOld(readAt)
		v.cache.Add(strings.Clone(user), fresh) // or it would hold what the name was cut from: with basic auth, the password
	}
	return fresh, nil
}

// forgetOld drops two of the views that were read longest ago, if they are older than any request may use: one for the one that
// comes, and one more, so that what is held are the people of the last seconds and not all there ever were.
func (v *Views) forgetOld(now time.Time) {
	for range 2 {
		_, oldest, ok := v.cache.GetOldest()
		if !ok || now.Sub(oldest.readAt) < v.lag {
			return
		}
		v.cache.RemoveOldest()
	}
}

// Forget drops what is known of a user, because this gateway just changed it.
func (v *Views) Forget(user string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.changes.Add(1)
	v.cache.Remove(user)
	v.flights.Forget(user)
}

// short returns the text form of a live passkey's id.
func (v *view) short(id grant.PasskeyID) string {
	for i := range v.live {
		if v.live[i] == id {
			return v.shorts[i]
		}
	}
	return ""
}

func passkeyID(credentialID []byte) grant.PasskeyID {
	sum := sha256.Sum256(credentialID)
	return grant.PasskeyID(sum[:16])
}
