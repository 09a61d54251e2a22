package metadata

import "time"

// Parse reads a payload that nobody signed.
var Parse = parse

// Pause is how long a URL is left alone.
var Pause = pause

// Confirmed returns a snapshot as its source was found to have it.
func (s *Snapshot) Confirmed(at time.Time) *Snapshot { return s.seen(at) }
