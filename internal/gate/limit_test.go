package gate

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

var (
	mine   = passkey.DigestOf("mine")
	theirs = passkey.DigestOf("theirs")
)

func allowed(l *Limiter, user, client string, browser passkey.Digest, proven bool, now time.Time) bool {
	return l.take(user, client, browser, proven, now) == 0
}

// Whoever is refused is told when to come again: then, and not before, there is a token.
func TestLimiterWait(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	for range pairBurst {
		if wait := l.take("alice", "192.0.2.1", mine, false, now); wait != 0 {
			t.Fatalf("refused for %v", wait)
		}
	}
	for _, proven := range []bool{false, true} {
		for range pairBurst {
			l.take("alice", "192.0.2.1", mine, proven, now)
		}
		wait := l.take("alice", "192.0.2.1", mine, proven, now)
		if wait <= 0 || wait > 2*time.Second {
			t.Errorf("proven %t: wait %v, want two seconds at the most", proven, wait)
		}
		if early := l.take("alice", "192.0.2.1", mine, proven, now.Add(wait-time.Millisecond)); early <= 0 || early > time.Millisecond {
			t.Errorf("proven %t: a moment early, wait %v", proven, early)
		}
		if again := l.take("alice", "192.0.2.1", mine, proven, now.Add(wait)); again != 0 {
			t.Errorf("proven %t: after the wait, wait %v", proven, again)
		}
	}
}

// What a finish gives back can be taken again, and nothing more: however often somebody finishes, at most so many hit nothing.
func TestLimiterGives(t *testing.T) {
	for _, proven := range []bool{false, true} {
		l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
		var held []taken
		take := func() bool {
			token, wait := l.takeFinish("alice", "192.0.2.1", mine, proven, now)
			if wait == 0 {
				held = append(held, token)
			}
			return wait == 0
		}
		for range 10 * finishBurst {
			if !take() {
				t.Fatalf("proven %t: refused after %d", proven, len(held))
			}
			l.give(held[0], now)
			held = nil
		}
		l.give(nil, now)
		for take() { // at the same time, all before the first is settled
		}
		if len(held) != finishBurst {
			t.Errorf("proven %t: %d at the same time, want %d", proven, len(held), finishBurst)
		}
		for _, token := range held {
			l.give(token, now)
		}
		for held = nil; take(); {
		}
		if len(held) != finishBurst {
			t.Errorf("proven %t: %d after all were given back, want %d", proven, len(held), finishBurst)
		}
		// A bucket that has filled again meanwhile gets no fuller.
		now = now.Add(time.Hour)
		for _, token := range held {
			l.give(token, now)
		}
		for held = nil; take(); {
		}
		if len(held) != finishBurst {
			t.Errorf("proven %t: %d after an hour, want %d", proven, len(held), finishBurst)
		}
		// Starts are counted apart.
		if !allowed(l, "alice", "192.0.2.1", mine, proven, now) {
			t.Errorf("proven %t: no start after many finishes", proven)
		}
	}
}

// However many users, browsers and addresses come, what is kept of them stays the same.
func TestLimiterMemory(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	flood := func(n int) uint64 {
		for i := range n {
			l.take(fmt.Sprint("user ", i), fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff), passkey.DigestOf(fmt.Sprint(i)), false, now)
			l.takeFinish(fmt.Sprint("user ", i), fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff), passkey.DigestOf(fmt.Sprint(i)), false, now)
		}
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	full := flood(2 * maxBuckets)
	for _, k := range []*kinds{l.starts, l.finishes} {
		for _, kind := range []interface{ Len() int }{k.users, k.pairs, k.browsers, k.addresses} {
			if kind.Len() > maxBuckets {
				t.Errorf("%d buckets of a kind, want %d at the most", kind.Len(), maxBuckets)
			}
		}
	}
	t.Logf("%d MB with every bucket in use", full>>20)
	if after := flood(4 * maxBuckets); after > full+full/4 {
		t.Errorf("%d bytes after a flood, %d after a longer one", full, after)
	}
}

// Who comes at a pace that people do is forgotten seconds later, and who is at their limit is not.
func TestLimiterForgetsFullBuckets(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	const users, pace = 5000, 10 * time.Millisecond
	spent := 0
	for i := range users {
		user, client, browser := fmt.Sprint("user ", i), fmt.Sprintf("2001:db8:%x::1", i), passkey.DigestOf(fmt.Sprint(i))
		if !allowed(l, user, client, browser, false, now) {
			t.Fatalf("%s is refused", user)
		}
		token, wait := l.takeFinish(user, client, browser, false, now)
		if wait != 0 {
			t.Fatalf("a finish of %s is refused", user)
		}
		l.give(token, now)
		// Mallory takes all there is and knocks on: one token in two seconds is all that may come of it.
		for allowed(l, "mallory", "192.0.2.66", theirs, false, now) {
			spent++
		}
		now = now.Add(pace)
	}
	if most := pairBurst + int(users*pace/(2*time.Second)); spent > most {
		t.Errorf("who is at their limit got %d starts, want %d at the most", spent, most)
	}
	for name, k := range map[string]*kinds{"starts": l.starts, "finishes": l.finishes} {
		for kind, buckets := range map[string]interface{ Len() int }{"users": k.users, "pairs": k.pairs, "browsers": k.browsers, "addresses": k.addresses} {
			// The slowest take two seconds to fill: those of 200 users.
			if n := buckets.Len(); n > 210 {
				t.Errorf("%s: %d buckets of %s are held for %d users", name, n, kind, users)
			}
		}
	}
}

// A clock that is set back, or forth and back, locks nobody out for as long as it was set, nor does it lift the limit.
func TestLimiterByAnOddClock(t *testing.T) {
	for _, jump := range []time.Duration{-time.Second, -10 * time.Second, -11 * time.Second, -5 * time.Minute, -24 * time.Hour, -87600 * time.Hour} {
		for _, proven := range []bool{false, true} {
			l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
			take := func() bool { return allowed(l, "alice", "192.0.2.1", mine, proven, now) }
			for take() {
			}
			now = now.Add(jump)
			if take() {
				t.Errorf("%v: the jump itself gave a token", jump)
			}
			if now = now.Add(2 * time.Second); !take() {
				t.Errorf("%v, proven %t: no token two seconds later", jump, proven)
			}
			if take() {
				t.Errorf("%v: two tokens in two seconds", jump)
			}
			// Forth is as good as a pause: the buckets are full, and no fuller.
			now = now.Add(-jump)
			passed := 0
			for take() {
				passed++
			}
			if most := min(pairBurst, int(-jump/time.Second)); passed > most {
				t.Errorf("%v and back, proven %t: %d tokens, want %d at the most", jump, proven, passed, most)
			}
		}
	}
}

func TestLimiterPairs(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	passed := 0
	for allowed(l, "alice", "192.0.2.1", theirs, false, now) {
		if passed++; passed > 1000 {
			t.Fatal("no limit for one client")
		}
	}
	if passed != pairBurst {
		t.Errorf("%d starts at once, want %d", passed, pairBurst)
	}
	if !allowed(l, "alice", "192.0.2.2", mine, false, now) || !allowed(l, "bob", "192.0.2.1", theirs, false, now) {
		t.Error("another address or another user is limited with them")
	}
	if !allowed(l, "alice", "192.0.2.1", theirs, false, now.Add(2*time.Second)) {
		t.Error("no token after two seconds")
	}
}

// An office behind one address shares its bucket, but nobody drains it by being refused.
func TestLimiterSharedAddress(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	for range 5000 {
		allowed(l, "mallory", "203.0.113.1", theirs, false, now)
	}
	passed := 0
	for i := range 2000 {
		if allowed(l, fmt.Sprint(i), "203.0.113.1", mine, false, now) {
			passed++
		}
	}
	if want := addressBurst - pairBurst; passed != want {
		t.Errorf("%d users at once behind mallory's address, want %d", passed, want)
	}
}

// Somebody with a stolen sign-in empties the user's bucket from everywhere. The user's own browser goes on.
func TestLimiterFloodInOnesName(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	passed := 0
	for i := range 5000 {
		if allowed(l, "alice", fmt.Sprintf("198.51.100.%d", i%256), passkey.DigestOf(fmt.Sprint(i)), false, now) {
			passed++
		}
	}
	if passed != userBurst {
		t.Errorf("%d starts in alice's name at once, want %d", passed, userBurst)
	}
	if allowed(l, "alice", "192.0.2.1", mine, false, now) {
		t.Error("the user's bucket does not count")
	}
	for range pairBurst {
		if !allowed(l, "alice", "198.51.100.1", mine, true, now) { // even from the attacker's own address
			t.Fatal("alice's own browser is locked out")
		}
	}
	if allowed(l, "alice", "198.51.100.1", mine, true, now) {
		t.Error("her browser has no limit at all")
	}
	// Whoever knows the public half of her cookie draws on another bucket.
	later := now.Add(time.Hour)
	for range 2 * pairBurst {
		allowed(l, "alice", "192.0.2.1", mine, false, later)
	}
	if !allowed(l, "alice", "192.0.2.1", mine, true, later) {
		t.Error("starts without the mark drained her browser's bucket")
	}
}

func TestNetworks(t *testing.T) {
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1:2:3": "2001:db8::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "nonsense": "nonsense",
	} {
		if got := networkOf(client); got != want {
			t.Errorf("%q is of %q, want %q", client, got, want)
		}
	}
}
