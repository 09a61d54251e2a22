package matrixtest_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// busy bounds how many cells keep the machine busy at a time, and waiting how many there are besides that wait for what hangs: a
// cell that starves would be refused for a reason of its own.
const (
	busy    = 6
	waiting = 60
)

// matrix runs cells beside each other.
type matrix struct {
	turns, room           chan struct{}
	scenes                atomic.Int64 // each with an RP ID of its own
	calls, cells, damages atomic.Int64
}

// place is where a scene's records are.
type place struct {
	tables
	past *dynamostore.DB // a way there that nothing is wrong with
}

// label marks the goroutines of a cell.
const label = "cell"

func (m *matrix) scene(t *testing.T, f flow, in place) *scene {
	s := newScene(t, in, fmt.Sprintf("%d.matrix.example", m.scenes.Add(1)))
	f.setup(s)
	return s
}

// observe runs a flow with nothing wrong, and returns what it asks of DynamoDB.
func (m *matrix) observe(t *testing.T, f flow, in place) (calls []observed) {
	s := m.scene(t, f, in)
	s.calls = append(s.calls, s.proxy.Take()...)
	for i, st := range f.steps {
		in := st.do(s)
		if in.code == passkey.StoreUnavailable {
			panic(starved{st.name})
		}
		if !st.done(in) {
			t.Fatalf("%s: %v", st.name, in)
		}
		made := s.proxy.Take()
		s.calls = append(s.calls, made...)
		counts := map[string]int{}
		for _, c := range made {
			if i < f.from {
				continue
			}
			calls = append(calls, observed{i, c.Operation, counts[c.Operation], faulttest.RowsOf(c.Response)})
			counts[c.Operation]++
		}
		if len(made) == 0 {
			t.Errorf("%s asks nothing of DynamoDB", st.name)
		}
	}
	s.ends(f, nil, true)
	return calls
}

// TestMatrix is the matrix: see the package's comment.
func TestMatrix(t *testing.T) {
	m := &matrix{turns: make(chan struct{}, busy), room: make(chan struct{}, busy+waiting)}
	shared := newTables(t, "shared")
	pasts := []*dynamostore.DB{open(t, shared, endpoint)}
	var all sync.WaitGroup
	for i, f := range flows {
		in := place{shared, pasts[0]}
		if f.alone {
			own := newTables(t, fmt.Sprint("alone-", i))
			in = place{own, open(t, own, endpoint)}
			pasts = append(pasts, in.past)
		}
		all.Go(func() {
			t.Run(f.name, func(t *testing.T) { m.flow(t, f, in) })
		})
	}
	all.Wait()
	t.Logf("%d flows make %d calls: %d cells, and in some of those %d damaged attributes", len(flows), m.calls.Load(), m.cells.Load(), m.damages.Load())
	for _, db := range pasts {
		must(t, db.Close())
	}
	if m.cells.Load() == 0 {
		t.Error("no cell was run")
	}
	direct.CloseIdleConnections()
	gone(t)
}

// flow makes and runs the cells of one flow.
func (m *matrix) flow(t *testing.T, f flow, in place) {
	var seen []observed
	m.patient(t, func() { seen = m.observe(t, f, in) })
	m.calls.Add(int64(len(seen)))
	var all sync.WaitGroup
	defer all.Wait()
	cell := func(name string, run func(t *testing.T)) {
		m.room <- struct{}{}
		m.cells.Add(1)
		all.Go(func() {
			defer func() { <-m.room }()
			t.Run(name, func(t *testing.T) {
				pprof.Do(t.Context(), pprof.Labels(label, t.Name()), func(context.Context) { run(t) })
			})
		})
	}
	for _, o := range seen {
		for _, x := range faults {
			made, ok := x.of(o)
			if !ok || x.name == noRows && f.strangers || x.lost && !o.writes() && x.name != faulttest.DropAfter.String() {
				continue
			}
			if x.once != none {
				made := made
				made.Count = 1
				cell(o.String()+"/"+x.name+", once", func(t *testing.T) { m.strike(t, f, in, o, made, x.once, x.codes) })
			}
			if x.always != none {
				cell(o.String()+"/"+x.name+", always", func(t *testing.T) { m.strike(t, f, in, o, made, x.always, x.codes) })
			}
		}
		if o.reads() {
			damaged := o.attributes()
			m.damages.Add(int64(len(damaged)))
			cell(o.String()+"/attributes", func(t *testing.T) { m.damage(t, f, in, o, damaged) })
		}
	}
}

// starved is what a cell panics with when DynamoDB Local was too slow where nothing is wrong. Then the cell means nothing.
type starved struct{ what string }

// patient runs a cell until it isn't starved.
func (m *matrix) patient(t *testing.T, cell func()) {
	t.Helper()
	for range 5 {
		was := ""
		func() {
			m.turns <- struct{}{}
			defer func() { <-m.turns }()
			defer func() {
				switch reason := recover().(type) {
				case nil:
				case starved:
					was = reason.what
				default:
					panic(reason)
				}
			}()
			cell()
		}()
		if was == "" {
			return
		}
		t.Logf("starved: %s", was)
	}
	t.Error("starved every time: DynamoDB Local is too slow here")
}

// strike is a cell: the flow, with one call struck.
func (m *matrix) strike(t *testing.T, f flow, in place, o observed, made faulttest.Fault, may outcome, codes []passkey.Refusal) {
	m.patient(t, func() {
		s := m.scene(t, f, in)
		failed := s.struck(f, o, made, may, codes, func(do func() reply) reply {
			<-m.turns // it may take long, and waits most of that
			defer func() { m.turns <- struct{}{} }()
			return do()
		})
		s.ends(f, failed, o.writes())
	})
}

// struck runs a flow to the call that is struck, and on if it gets over that. It returns the step that failed.
func (s *scene) struck(f flow, o observed, made faulttest.Fault, may outcome, codes []passkey.Refusal, run func(func() reply) reply) *step {
	s.t.Helper()
	for i, st := range f.steps {
		if i != o.step {
			in := st.do(s)
			if in.code == passkey.StoreUnavailable {
				panic(starved{st.name})
			}
			if !st.done(in) {
				s.t.Fatalf("%s, without a fault: %v", st.name, in)
			}
			continue
		}
		made.Operation, made.Skip = o.operation, o.nth
		lift := s.proxy.Inject(made)
		in := run(func() reply { return st.do(s) })
		lift()
		s.judge(f, st, in, may, codes)
		if !st.done(in) {
			return &f.steps[i]
		}
	}
	return nil
}

// ends is the end of a cell.
func (s *scene) ends(f flow, failed *step, wrote bool) {
	s.t.Helper()
	s.holds(failed, wrote)
	if f.after != nil {
		f.after(s)
	}
}

// judge holds that a step whose call was struck was done or refused, as it may be, for a reason that the fault explains.
func (s *scene) judge(f flow, st step, in reply, may outcome, codes []passkey.Refusal) {
	s.t.Helper()
	if st.done(in) {
		if may == fails && !f.persists && st.code == "" {
			s.t.Errorf("%s: %v, and it had to be refused", st.name, in)
		}
		return
	}
	if may == passes {
		if in.code == passkey.StoreUnavailable {
			panic(starved{st.name})
		}
		s.t.Errorf("%s: %v, and there was no need to refuse it", st.name, in)
	}
	if in.reached && !st.reaches {
		s.t.Errorf("%s: it reached the upstream", st.name)
	}
	if f.persists && may == either && in.err != nil && in.code == "" {
		return // an export says in words what it can't write
	}
	if in.code != passkey.StoreUnavailable && !slices.Contains(codes, in.code) {
		s.t.Errorf("%s: refused for %v, which explains nothing", st.name, in)
	}
}

// damage is a cell of many: in one answer, each attribute in turn is missing or of another type.
func (m *matrix) damage(t *testing.T, f flow, in place, o observed, damaged []attribute) {
	next := 0 // also after starving
	m.patient(t, func() {
		s := m.scene(t, f, in)
		var failed *step
		for ; next < len(damaged); next++ {
			a := damaged[next]
			failed = s.struck(f, o, faulttest.Fault{Rewrite: faulttest.Rows(a.edit)}, a.may, a.codes, func(do func() reply) reply { return do() })
			if t.Failed() {
				t.Fatalf("%s", a.name)
			}
			if failed == nil { // the flow has changed what it is about
				s.ends(f, nil, true)
				s = m.scene(t, f, in)
				continue
			}
			s.clock.Advance(time.Minute)
			s.calls = append(s.calls, s.proxy.Take()...)
			s.made = map[string][]byte{} // the challenge is used up: begin again
		}
		if failed != nil {
			s.ends(f, failed, true)
		}
	})
}

// gone holds that no cell has left a goroutine behind. What a goroutine starts bears its cell's label too.
func gone(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var profile bytes.Buffer
		must(t, pprof.Lookup("goroutine").WriteTo(&profile, 1))
		left := strings.Count(profile.String(), `"`+label+`":`)
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d kinds of goroutines are left:\n%s", left, profile.String())
		}
		<-tick.C
	}
}
