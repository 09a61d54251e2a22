package policy

import "time"

// Mode says how far a rule is enforced. The zero Mode is the strictest.
type Mode uint8

// The modes, from the strictest to the most lenient.
const (
	Enforce    Mode = iota // whoever lacks a step-up is stopped
	IfEnrolled             // people without a passkey are let through, everybody else is asked
	Report                 // nobody is stopped; what would have happened is said
)

// earliest is when this was written, roughly: a clock that says earlier is wrong. Many a machine without the time begins in
// 1970, when nothing is enforced yet.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// ModeAt returns how far a rule is enforced at a time: one that is enforced from a later day on asks until then only
// people who have a passkey. At a time that can't be, it is enforced.
func (r Rule) ModeAt(now time.Time) Mode {
	if r.Mode == Enforce && !r.From.IsZero() && now.Before(r.From) && !now.Before(earliest) {
		return IfEnrolled
	}
	return r.Mode
}

// Strictest returns a rule that demands what both do, as far as either is enforced. An open rule demands nothing.
func (r Rule) Strictest(other Rule) Rule {
	switch {
	case r.Open:
		return other
	case other.Open:
		return r
	}
	strictest := Rule{Name: r.Name + " + " + other.Name, Demand: r.Demand.Strictest(other.Demand), Mode: min(r.Mode, other.Mode)}
	switch {
	case r.Mode != other.Mode:
		if strictest.From = r.From; other.Mode < r.Mode {
			strictest.From = other.From
		}
	case r.From.Before(other.From): // the zero time too: enforced already
		strictest.From = r.From
	default:
		strictest.From = other.From
	}
	return strictest
}
