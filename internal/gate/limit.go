package gate

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/stepgate/stepgate/internal/passkey"
)

// The token buckets that ceremony starts draw on. A person starts one for each prompt they see; the numbers leave room
// for many tabs, impatience, and an office behind one address.
const (
	userRate, userBurst       = 5, 300  // per user: what a botnet with a stolen sign-in gets
	pairRate, pairBurst       = 0.5, 30 // per user and client address
	browserRate, browserBurst = 0.5, 30 // per user and browser
	addressRate, addressBurst = 10, 300 // per client address, over all users
	maxBuckets                = 50_000  // of each kind; the least recently used go first
)

// Limiter bounds how many ceremonies are started, by user, browser and client address, in memory.
//
// A flood aimed at one user must not lock that user out (design.md rule 14): whoever holds a stolen sign-in can empty
// the user's bucket, but a browser that has finished a ceremony for this user does not draw on it. Buckets that were
// pushed out of memory are full again; the memory stays bounded.
type Limiter struct {
	mu        sync.Mutex
	users     *lru.Cache[passkey.Digest, *rate.Limiter]
	pairs     *lru.Cache[passkey.Digest, *rate.Limiter]
	browsers  *lru.Cache[passkey.Digest, *rate.Limiter]
	addresses *lru.Cache[passkey.Digest, *rate.Limiter]
	proven    *lru.Cache[passkey.Digest, struct{}]
}

// NewLimiter returns a Limiter with full buckets.
func NewLimiter() *Limiter {
	return &Limiter{users: buckets(), pairs: buckets(), browsers: buckets(), addresses: buckets(), proven: bounded[struct{}]()}
}

// allow takes a token for one ceremony start, or refuses.
func (l *Limiter) allow(user, address string, browser passkey.Digest, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := passkey.DigestOf("b" + user + "\x00" + string(browser[:]))
	if !take(l.addresses, passkey.DigestOf("a"+address), addressRate, addressBurst, now) ||
		!take(l.pairs, passkey.DigestOf("p"+address+"\x00"+user), pairRate, pairBurst, now) ||
		!take(l.browsers, own, browserRate, browserBurst, now) {
		return false
	}
	if _, ok := l.proven.Get(own); ok {
		return true
	}
	return take(l.users, passkey.DigestOf("u"+user), userRate, userBurst, now)
}

// prove remembers that a browser finished a ceremony for a user.
func (l *Limiter) prove(user string, browser passkey.Digest) {
	l.proven.Add(passkey.DigestOf("b"+user+"\x00"+string(browser[:])), struct{}{})
}

func take(of *lru.Cache[passkey.Digest, *rate.Limiter], key passkey.Digest, perSecond rate.Limit, burst int, now time.Time) bool {
	bucket, ok := of.Get(key)
	if !ok {
		bucket = rate.NewLimiter(perSecond, burst)
		of.Add(key, bucket)
	}
	return bucket.AllowN(now, 1)
}

func buckets() *lru.Cache[passkey.Digest, *rate.Limiter] { return bounded[*rate.Limiter]() }

func bounded[V any]() *lru.Cache[passkey.Digest, V] {
	cache, err := lru.New[passkey.Digest, V](maxBuckets)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return cache
}
