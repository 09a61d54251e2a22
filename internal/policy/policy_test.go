package policy_test

import (
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

var (
	now   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	key   = grant.PasskeyID{1}
	other = grant.PasskeyID{2}
)

func facts() policy.Facts {
	return policy.Facts{
		User: passkey.DigestOf("alice"), Origin: passkey.DigestOf("https://console.example.com"),
		Session: passkey.DigestOf("session"), Epoch: passkey.Epoch{7}, Live: []grant.PasskeyID{other, key},
	}
}

// made returns a grant of alice's with proofs of the given levels and ages.
func made(proofs ...grant.Proof) *grant.Grant {
	f := facts()
	g := &grant.Grant{User: f.User, Origin: f.Origin, Session: f.Session, Epoch: f.Epoch}
	for _, p := range proofs {
		g.Add(p)
	}
	return g
}

func proof(level passkey.Level, age time.Duration) grant.Proof {
	return grant.Proof{Passkey: key, Level: level, At: now.Add(-age).UnixNano()}
}

func TestJudge(t *testing.T) {
	demand := policy.Demand{Level: passkey.Verified, MaxAge: 5 * time.Minute}
	with := func(change func(*policy.Facts)) policy.Facts {
		f := facts()
		change(&f)
		return f
	}
	tests := []struct {
		name   string
		demand policy.Demand
		grant  *grant.Grant
		facts  policy.Facts
		want   passkey.Refusal // "" to allow
	}{
		{"fresh", demand, made(proof(passkey.Verified, 0)), facts(), ""},
		{"higher level", demand, made(proof(passkey.DeviceBound, time.Minute)), facts(), ""},
		{"just before the end", demand, made(proof(passkey.Verified, 5*time.Minute-1)), facts(), ""},
		{"at the end", demand, made(proof(passkey.Verified, 5*time.Minute)), facts(), passkey.GrantStale},
		{"after the end", demand, made(proof(passkey.Verified, 5*time.Minute+1)), facts(), passkey.GrantStale},
		{"ahead within the skew", demand, made(proof(passkey.Verified, -policy.MaxSkew)), facts(), ""},
		{"ahead beyond the skew", demand, made(proof(passkey.Verified, -policy.MaxSkew-1)), facts(), passkey.GrantFromFuture},
		{"too weak", demand, made(proof(passkey.Present, 0)), facts(), passkey.GrantLevel},
		{"no grant", demand, nil, facts(), passkey.GrantMissing},
		{"no proof", demand, made(), facts(), passkey.GrantMissing},
		{"zero grant", demand, &grant.Grant{}, policy.Facts{}, passkey.GrantMissing},
		{"other user", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.User = passkey.DigestOf("bob") }), passkey.GrantOtherUser},
		{"other origin", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Origin = passkey.DigestOf("https://aws.example.com") }), passkey.GrantOtherOrigin},
		{"other session", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Session = passkey.DigestOf("next") }), passkey.GrantOtherSession},
		{"session no longer bound", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Session = passkey.Digest{} }), passkey.GrantOtherSession},
		{"revoked", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Epoch = passkey.Epoch{8} }), passkey.GrantRevoked},
		{"passkey removed", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Live = f.Live[:1] }), passkey.GrantPasskeyRemoved},
		{"no passkeys at all", demand, made(proof(passkey.Verified, 0)), with(func(f *policy.Facts) { f.Live = nil }), passkey.GrantPasskeyRemoved},
		{"stale beats weak", demand, made(proof(passkey.Present, 0), proof(passkey.Verified, time.Hour)), facts(), passkey.GrantStale},
		{"a stronger old one helps a weaker new one", policy.Demand{Level: passkey.DeviceBound, MaxAge: 2 * time.Hour},
			made(proof(passkey.Verified, 0), proof(passkey.DeviceBound, time.Hour)), facts(), ""},
		{"demand of no level", policy.Demand{MaxAge: time.Minute}, made(proof(passkey.Attested, 0)), facts(), passkey.Internal},
		{"demand of no age", policy.Demand{Level: passkey.Present}, made(proof(passkey.Attested, 0)), facts(), passkey.Internal},
		{"demand of a level that is none", policy.Demand{Level: 9, MaxAge: time.Minute}, made(proof(passkey.Attested, 0)), facts(), passkey.Internal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := test.facts
			got := policy.Judge(test.demand, test.grant, &f, now)
			if got.Reason != test.want || got.Allow != (test.want == "") {
				t.Errorf("got allow=%v reason %q, want reason %q", got.Allow, got.Reason, test.want)
			}
			if got.Allow && got.Proof.Level < test.demand.Level {
				t.Errorf("allowed by a proof of level %v", got.Proof.Level)
			}
		})
	}
}

// However odd a clock is, it makes no grant young.
func TestJudgeByAnOddClock(t *testing.T) {
	demand := policy.Demand{Level: passkey.Verified, MaxAge: 5 * time.Minute}
	for _, test := range []struct {
		name string
		now  time.Time
		want passkey.Refusal
	}{
		{"no time at all", time.Time{}, passkey.GrantFromFuture},
		{"before what an int64 holds in nanoseconds", time.Date(1500, 1, 1, 0, 0, 0, 0, time.UTC), passkey.GrantFromFuture},
		{"1970", time.Unix(0, 0), passkey.GrantFromFuture},
		{"ten years back", now.AddDate(-10, 0, 0), passkey.GrantFromFuture},
		{"a day back", now.Add(-24 * time.Hour), passkey.GrantFromFuture},
		{"five minutes back", now.Add(-5 * time.Minute), passkey.GrantFromFuture},
		{"11 s back", now.Add(-11 * time.Second), passkey.GrantFromFuture},
		{"10 s back", now.Add(-policy.MaxSkew), ""},
		{"a second back", now.Add(-time.Second), ""},
		{"right", now, ""},
		{"a second ahead", now.Add(time.Second), ""},
		{"five minutes ahead", now.Add(5 * time.Minute), passkey.GrantStale},
		{"a day ahead", now.Add(24 * time.Hour), passkey.GrantStale},
		{"ten years ahead", now.AddDate(10, 0, 0), passkey.GrantStale},
		{"after what an int64 holds in nanoseconds", time.Date(2700, 1, 1, 0, 0, 0, 0, time.UTC), passkey.GrantStale},
		{"once around what an int64 holds in nanoseconds", now.Add(1 << 62).Add(1 << 62).Add(1 << 62).Add(1 << 62), passkey.GrantStale},
		{"once around, backwards", now.Add(-1 << 62).Add(-1 << 62).Add(-1 << 62).Add(-1 << 62), passkey.GrantFromFuture},
	} {
		f := facts()
		if got := policy.Judge(demand, made(proof(passkey.Verified, 0)), &f, test.now); got.Reason != test.want || got.Allow != (test.want == "") {
			t.Errorf("%s: got allow=%v reason %q, want reason %q", test.name, got.Allow, got.Reason, test.want)
		}
	}
}

func TestStrictest(t *testing.T) {
	a := policy.Demand{Level: passkey.DeviceBound, MaxAge: time.Hour}
	b := policy.Demand{Level: passkey.Present, MaxAge: time.Minute}
	want := policy.Demand{Level: passkey.DeviceBound, MaxAge: time.Minute}
	if got := a.Strictest(b); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := b.Strictest(a); got != want {
		t.Errorf("the other way round: got %v, want %v", got, want)
	}
}

func TestJudgeAllocatesNothing(t *testing.T) {
	g, f := made(proof(passkey.Verified, time.Minute), proof(passkey.DeviceBound, time.Hour)), facts()
	demand := policy.Demand{Level: passkey.Verified, MaxAge: 5 * time.Minute}
	if n := testing.AllocsPerRun(100, func() { policy.Judge(demand, g, &f, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
