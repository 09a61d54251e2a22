package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

var (
	mine   = passkey.DigestOf("mine")
	theirs = passkey.DigestOf("theirs")
)

func TestLimiterPairs(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	passed := 0
	for l.allow("alice", "192.0.2.1", theirs, false, now) {
		if passed++; passed > 1000 {
			t.Fatal("no limit for one client")
		}
	}
	if passed != pairBurst {
		t.Errorf("%d starts at once, want %d", passed, pairBurst)
	}
	if !l.allow("alice", "192.0.2.2", mine, false, now) || !l.allow("bob", "192.0.2.1", theirs, false, now) {
		t.Error("another address or another user is limited with them")
	}
	if !l.allow("alice", "192.0.2.1", theirs, false, now.Add(2*time.Second)) {
		t.Error("no token after two seconds")
	}
}

// An office behind one address shares its bucket, but nobody drains it by being refused.
func TestLimiterSharedAddress(t *testing.T) {
	l, now := NewLimiter(), time.Unix(1_800_000_000, 0)
	for range 5000 {
		l.allow("mallory", "203.0.113.1", theirs, false, now)
	}
	passed := 0
	for i := range 2000 {
		if l.allow(fmt.Sprint(i), "203.0.113.1", mine, false, now) {
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
		if l.allow("alice", fmt.Sprintf("198.51.100.%d", i%256), passkey.DigestOf(fmt.Sprint(i)), false, now) {
			passed++
		}
	}
	if passed != userBurst {
		t.Errorf("%d starts in alice's name at once, want %d", passed, userBurst)
	}
	if l.allow("alice", "192.0.2.1", mine, false, now) {
		t.Error("the user's bucket does not count")
	}
	for range browserBurst {
		if !l.allow("alice", "198.51.100.1", mine, true, now) { // even from the attacker's own address
			t.Fatal("alice's own browser is locked out")
		}
	}
	if l.allow("alice", "198.51.100.1", mine, true, now) {
		t.Error("her browser has no limit at all")
	}
	// Whoever knows the public half of her cookie draws on another bucket.
	later := now.Add(time.Hour)
	for range 2 * browserBurst {
		l.allow("alice", "192.0.2.1", mine, false, later)
	}
	if !l.allow("alice", "192.0.2.1", mine, true, later) {
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
