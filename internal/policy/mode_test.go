package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

func TestModeAt(t *testing.T) {
	for _, test := range []struct {
		name string
		rule policy.Rule
		want policy.Mode
	}{
		{"nothing said", policy.Rule{}, policy.Enforce},
		{"enforced from later on", policy.Rule{From: now.Add(1)}, policy.IfEnrolled},
		{"enforced from this instant on", policy.Rule{From: now}, policy.Enforce},
		{"enforced for long", policy.Rule{From: now.Add(-time.Hour)}, policy.Enforce},
		{"if enrolled", policy.Rule{Mode: policy.IfEnrolled}, policy.IfEnrolled},
		{"report", policy.Rule{Mode: policy.Report}, policy.Report},
	} {
		if got := test.rule.ModeAt(now); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

// A clock that says what can't be (a machine that has lost the time begins in 1970) does not lift a rule.
func TestModeAtAnImpossibleTime(t *testing.T) {
	rule := policy.Rule{From: now.Add(time.Hour)}
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(2025, 12, 31, 23, 59, 59, 0, time.UTC)} {
		if got := rule.ModeAt(at); got != policy.Enforce {
			t.Errorf("at %v: %v", at, got)
		}
	}
	if got := rule.ModeAt(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); got != policy.IfEnrolled {
		t.Errorf("at a time that can be: %v", got)
	}
}

// At no time is the strictest of two rules more lenient than either.
func TestStrictestRule(t *testing.T) {
	times := []time.Time{{}, now.Add(-time.Hour), now.Add(time.Hour), now.Add(2 * time.Hour)}
	var rules []policy.Rule
	for _, from := range times {
		rules = append(rules, policy.Rule{Name: "x", Demand: policy.Demand{Level: passkey.Verified, MaxAge: time.Minute}, From: from})
	}
	for _, mode := range []policy.Mode{policy.IfEnrolled, policy.Report} {
		rules = append(rules, policy.Rule{Name: "y", Demand: policy.Demand{Level: passkey.Present, MaxAge: time.Second}, Mode: mode})
	}
	for _, a := range rules {
		for _, b := range rules {
			both := a.Strictest(b)
			for _, at := range []time.Time{now.Add(-2 * time.Hour), now, now.Add(90 * time.Minute), now.Add(3 * time.Hour)} {
				if got, want := both.ModeAt(at), min(a.ModeAt(at), b.ModeAt(at)); got != want {
					t.Errorf("%+v and %+v at %v: %v, want %v", a, b, at, got, want)
				}
			}
			if diff := cmp.Diff(a.Demand.Strictest(b.Demand), both.Demand); diff != "" {
				t.Error(diff)
			}
		}
	}
	open := policy.Rule{Name: "open", Open: true}
	if diff := cmp.Diff(rules[0], open.Strictest(rules[0])); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(rules[0], rules[0].Strictest(open)); diff != "" {
		t.Error(diff)
	}
	if !open.Strictest(open).Open {
		t.Error("two open rules demand something")
	}
}
