// Package clock holds the time that grants, challenges and invitations are judged by where a gateway has nobody to compare
// its clock with.
//
// The idea: how much time has passed is counted by the machine's monotonic clock, which nobody sets; the wall clock only ever
// moves that count ahead. So a clock that is set back, by a correction or by mistake, makes nothing younger and brings
// nothing back that has ended: the gateway goes on from where it was. A clock that is set forward ends things early. A
// machine that slept is set forward too, as its monotonic clock slept with it.
//
// What it can't know is what the clock was before the process began. Nobody who sends requests can move either clock.
package clock

import (
	"sync/atomic"
	"time"
)

// Steady is a clock that does not go back. Safe for concurrent use. It allocates nothing.
type Steady struct {
	read   func() (wall time.Time, elapsed time.Duration)
	ahead  atomic.Int64 // of elapsed, in nanoseconds: the most that the wall clock ever was, since the Unix epoch
	most   time.Duration
	behind func(time.Duration)
	told   atomic.Bool
}

// New returns the machine's clock, made steady. Whenever the machine's clock is found to have been set back by more than
// most, behind is called, once; it must be quick. Nil is nobody.
func New(most time.Duration, behind func(time.Duration)) *Steady {
	began := time.Now()
	return By(func() (time.Time, time.Duration) {
		now := time.Now()
		return now, now.Sub(began)
	}, most, behind)
}

// By is [New] by other clocks: read returns what the wall clock shows, and how much time has passed since the process began.
func By(read func() (wall time.Time, elapsed time.Duration), most time.Duration, behind func(time.Duration)) *Steady {
	if behind == nil {
		behind = func(time.Duration) {}
	}
	s := &Steady{read: read, most: most, behind: behind}
	wall, elapsed := read()
	s.ahead.Store(wall.UnixNano() - int64(elapsed))
	return s
}

// Now returns a time that is never before one that was returned earlier. It has no monotonic part: it needs none.
func (s *Steady) Now() time.Time {
	wall, elapsed := s.read()
	shown := wall.UnixNano() - int64(elapsed)
	for {
		ahead := s.ahead.Load()
		if shown <= ahead {
			s.tell(time.Duration(ahead - shown))
			return time.Unix(0, ahead+int64(elapsed))
		}
		if s.ahead.CompareAndSwap(ahead, shown) {
			s.told.Store(false)
			return time.Unix(0, shown+int64(elapsed))
		}
	}
}

func (s *Steady) tell(behind time.Duration) {
	switch {
	case behind <= s.most:
		if s.told.Load() {
			s.told.Store(false)
		}
	case s.told.CompareAndSwap(false, true):
		s.behind(behind)
	}
}
