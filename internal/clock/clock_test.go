package clock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/clock"
)

// machine has a wall clock that anybody may set, and one that only runs.
type machine struct {
	wall    time.Time
	elapsed time.Duration
}

func (m *machine) read() (time.Time, time.Duration) { return m.wall, m.elapsed }

func (m *machine) pass(d time.Duration) { m.wall, m.elapsed = m.wall.Add(d), m.elapsed+d }

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Time goes on from where it was when the clock is set back, and from where the clock is when it is set forward.
func TestSteady(t *testing.T) {
	m := &machine{wall: noon, elapsed: time.Hour}
	var told []time.Duration
	s := clock.By(m.read, 10*time.Second, func(d time.Duration) { told = append(told, d) })
	for _, step := range []struct {
		name string
		set  time.Duration // the wall clock alone
		pass time.Duration
		want time.Duration // since noon
		told []time.Duration
	}{
		{"nothing happens", 0, 0, 0, nil},
		{"time passes", 0, time.Minute, time.Minute, nil},
		{"set forward", 5 * time.Minute, 0, 6 * time.Minute, nil},
		{"and time passes", 0, time.Minute, 7 * time.Minute, nil},
		{"back by what is let be", -10 * time.Second, 0, 7 * time.Minute, nil},
		{"back by a little more", -time.Second, 0, 7 * time.Minute, []time.Duration{11 * time.Second}},
		{"told once", 0, time.Minute, 8 * time.Minute, nil},
		{"forward again", 11 * time.Second, time.Minute, 9 * time.Minute, nil},
		{"back by ten years", -87600 * time.Hour, time.Second, 9*time.Minute + time.Second, []time.Duration{87600 * time.Hour}},
		{"forward, beyond where it was", 87600*time.Hour + time.Minute, 0, 10*time.Minute + time.Second, nil},
		{"back again", -time.Minute, time.Minute, 11*time.Minute + time.Second, []time.Duration{time.Minute}},
		{"a sleep, of which only the wall clock knows", 2 * time.Hour, 0, 2*time.Hour + 10*time.Minute + time.Second, nil},
	} {
		told = nil
		m.wall = m.wall.Add(step.set)
		m.pass(step.pass)
		got := s.Now()
		if diff := cmp.Diff(step.want, got.Sub(noon)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", step.name, diff)
		}
		if diff := cmp.Diff(step.told, told); diff != "" {
			t.Errorf("%s: told (-want +got)\n%s", step.name, diff)
		}
	}
}

// The machine's own clock, asked by many at once: each sees time go forward, and nobody makes it leap.
func TestSteadyTogether(t *testing.T) {
	s := clock.New(time.Second, func(d time.Duration) { t.Errorf("the clock was set back by %v", d) })
	began := time.Now()
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			last := s.Now()
			for range 1000 {
				next := s.Now()
				if next.Before(last) {
					t.Errorf("%v after %v", next, last)
				}
				last = next
			}
		})
	}
	all.Wait()
	if off := s.Now().Sub(began.Round(0)) - time.Since(began); off < -time.Second || off > time.Second {
		t.Errorf("it is off by %v", off)
	}
}

func TestSteadyAllocatesNothing(t *testing.T) {
	s := clock.New(time.Second, nil)
	if n := testing.AllocsPerRun(100, func() { s.Now() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
