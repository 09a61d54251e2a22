package gate

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/stepgate/stepgate/internal/passkey"
)

// The token buckets that ceremony starts draw on, and those of the same size that finishes draw on. A person starts one
// for each prompt they see; the numbers leave room for many tabs, impatience, and an office behind one address.
const (
	userRate, userBurst       = 5, 300  // per user: what a botnet with a stolen sign-in gets
	pairRate, pairBurst       = 0.5, 30 // per user and client network, and the burst of browsers too
	browserRate               = 0.5     // per user and browser
	addressRate, addressBurst = 10, 300 // per client network, over all users
	finishBurst               = 100     // in the place of the 30 of pairs and browsers, for finishes that hit nothing
	maxBuckets                = 50_000  // of each kind; the least recently used go first
)

// Limiter bounds how many ceremonies are started, and how many are finished that nobody started, by user, browser and
// client address, in memory.
//
// A flood aimed at one user must not lock that user out (docs/rules.md, rule 14): a browser that has finished a ceremony for
// this user draws on its own bucket alone, which nobody else can empty. Everybody else needs a token from each bucket,
// and who is refused by one takes none from the others. Buckets that were pushed out of memory are full again; the
// memory stays bounded. One that has filled again is as good as none: new ones push those out first, so that what is held
// are the users of the last seconds and not all there ever were.
//
// Finishes have buckets of their own: whoever has used up their starts must be able to finish what they started.
type Limiter struct {
	mu               sync.Mutex
	starts, finishes *kinds
}

// kinds are the buckets of each kind.
type kinds struct {
	burst                             int // of pairs and browsers
	users, pairs, browsers, addresses *lru.Cache[passkey.Digest, *rate.Limiter]
}

// NewLimiter returns a Limiter with full buckets.
func NewLimiter() *Limiter {
	return &Limiter{starts: newKinds(pairBurst), finishes: newKinds(finishBurst)}
}

func newKinds(burst int) *kinds {
	return &kinds{burst: burst, users: buckets(), pairs: buckets(), browsers: buckets(), addresses: buckets()}
}

// take takes a token for one ceremony start and returns 0, or takes none and returns how long it is until there is one.
func (l *Limiter) take(user, client string, browser passkey.Digest, proven bool, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return draw(l.starts.of(user, client, browser, proven, now), now)
}

// taken is the token of a finish, which can be given back.
type taken []*rate.Limiter

// takeFinish is take for a finish. Its token is taken before anybody knows what the finish will hit, so that many at once
// can't all look first and pay later.
func (l *Limiter) takeFinish(user, client string, browser passkey.Digest, proven bool, now time.Time) (token taken, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	token = l.finishes.of(user, client, browser, proven, now)
	return token, draw(token, now)
}

// give gives a token back. No bucket gets fuller than full by it.
func (l *Limiter) give(token taken, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, limiter := range token {
		limiter.AllowN(now, -1) // a reservation's Cancel gives less back when others have drawn since
	}
}

// of returns the buckets that one request draws on.
func (k *kinds) of(user, client string, browser passkey.Digest, proven bool, now time.Time) []*rate.Limiter {
	if proven { // a bucket that only the bearer of the mark draws on
		return []*rate.Limiter{bucket(k.browsers, "m"+user+"\x00"+string(browser[:]), browserRate, k.burst, now)}
	}
	network := networkOf(client)
	return []*rate.Limiter{
		bucket(k.browsers, "b"+user+"\x00"+string(browser[:]), browserRate, k.burst, now),
		bucket(k.pairs, "p"+network+"\x00"+user, pairRate, k.burst, now),
		bucket(k.users, "u"+user, userRate, userBurst, now),
		bucket(k.addresses, "a"+network, addressRate, addressBurst, now),
	}
}

// draw takes a token from each bucket and returns 0, or takes none and returns how long it is until each has one.
func draw(all []*rate.Limiter, now time.Time) (wait time.Duration) {
	for _, limiter := range all {
		limiter.AllowN(now, 0) // takes nothing: of a clock that was set back it makes this the time to count from
		if missing := 1 - limiter.TokensAt(now); missing > 0 {
			wait = max(wait, time.Duration(missing/float64(limiter.Limit())*float64(time.Second)))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, limiter := range all {
		limiter.AllowN(now, 1)
	}
	return 0
}

// networkOf returns what one client controls of the address space: an IPv4 address, or the /64 of an IPv6 address.
func networkOf(client string) string {
	address, err := netip.ParseAddr(client)
	if err != nil {
		return client
	}
	if address = address.Unmap().WithZone(""); address.Is4() {
		return address.String()
	}
	prefix, err := address.Prefix(64)
	if err != nil {
		return client
	}
	return prefix.String()
}

func bucket(of *lru.Cache[passkey.Digest, *rate.Limiter], name string, perSecond rate.Limit, burst int, now time.Time) *rate.Limiter {
	key := passkey.DigestOf(name)
	limiter, ok := of.Get(key)
	if !ok {
		forgetFull(of, now)
		limiter = rate.NewLimiter(perSecond, burst)
		of.Add(key, limiter)
	}
	return limiter
}

// forgetFull drops two of the buckets that were not used for longest, if they have filled again: one for the one that comes,
// and one more, so that they get fewer. A finish that holds one still can give nothing back to it that it lacks.
func forgetFull(of *lru.Cache[passkey.Digest, *rate.Limiter], now time.Time) {
	for range 2 {
		_, oldest, ok := of.GetOldest()
		if !ok || oldest.TokensAt(now) < float64(oldest.Burst()) {
			return
		}
		of.RemoveOldest()
	}
}

func buckets() *lru.Cache[passkey.Digest, *rate.Limiter] {
	cache, err := lru.New[passkey.Digest, *rate.Limiter](maxBuckets)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return cache
}
