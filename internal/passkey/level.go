package passkey

import "fmt"

// Level says how strongly a ceremony proved that the person holds a passkey. Levels are ordered: a higher one satisfies
// every lower one. The zero Level is none and satisfies nothing.
type Level uint8

// The levels, from weakest to strongest (docs/configuration.md).
const (
	Present     Level = iota + 1 // user presence
	Verified                     // and user verification in this very ceremony
	DeviceBound                  // and not backup eligible: the authenticator's claim
	Attested                     // and attestation that chains to a trusted root
)

var levelNames = [...]string{"", "present", "verified", "device_bound", "attested"}

// String returns the level's name as configuration, headers and logs spell it; "" for the zero Level.
func (l Level) String() string {
	if int(l) < len(levelNames) {
		return levelNames[l]
	}
	return fmt.Sprintf("Level(%d)", uint8(l))
}

// Valid reports whether l is one of the four levels.
func (l Level) Valid() bool { return l >= Present && l <= Attested }

// ParseLevel is the inverse of [Level.String]. Only the exact names are accepted.
func ParseLevel(name string) (Level, error) {
	for l := Present; l <= Attested; l++ {
		if levelNames[l] == name {
			return l, nil
		}
	}
	return 0, fmt.Errorf("unknown level %q: use present, verified, device_bound or attested", name)
}
