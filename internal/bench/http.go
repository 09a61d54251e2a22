package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/stepgate/stepgate/internal/bench/load"
	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

const (
	clients      = 16 // connections, which send their next request when they have an answer
	minOfBare    = 0.95
	minOfForward = 1.5
)

// httpPart measures requests through Caddy: all variants as sites of one process, with one upstream behind them.
func httpPart(ctx context.Context, l *lab) (_ report.Section, err error) {
	s, err := newStage(ctx, l)
	if err != nil {
		return report.Section{}, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	for _, v := range s.variants {
		if err := s.check(ctx, v); err != nil {
			return report.Section{}, fmt.Errorf("%s: %w", v.name, err)
		}
	}
	rounds, block := pick(l, 20, 2), pick(l, 700*time.Millisecond, 200*time.Millisecond)
	for round := range rounds {
		l.say("round %d of %d", round+1, rounds)
		blocks := make([][]outcome, len(s.variants))
		// There and back again, so that what drifts falls on all alike; in another order each time, so that whom a variant
		// comes after does too.
		order := rand.Perm(len(s.variants)) // #nosec G404 -- nothing secret
		for i := range 2 * len(order) {
			at := order[min(i, 2*len(order)-1-i)]
			o, err := s.measure(ctx, s.variants[at], block)
			if err != nil {
				return report.Section{}, fmt.Errorf("%s: %w", s.variants[at].name, err)
			}
			blocks[at] = append(blocks[at], o)
		}
		for i, v := range s.variants {
			v.add(blocks[i])
		}
	}
	memory := []float64{}
	for _, p := range []*process{s.caddy, s.authorizers[0].process, s.authorizers[1].process} {
		held, err := p.anonymous()
		if err != nil {
			return report.Section{}, err
		}
		memory = append(memory, held/(1<<20))
	}
	return s.section(rounds, block, memory)
}

// outcome is one block of one variant.
type outcome struct {
	load.Result
	caddy, authorizer   time.Duration // of the processor
	connections, judged int64         // to the authorizer, and requests that it judged
}

// check holds that a variant does what its name says: that it lets pass what it should, through the upstream and the
// authorizer, and nothing without what it demands.
func (s *stage) check(ctx context.Context, v *variant) error {
	if _, err := s.measure(ctx, v, 0); err != nil {
		return err
	}
	if v.credential == "" {
		return nil
	}
	before, err := s.upstream.reached()
	if err != nil {
		return err
	}
	bare := load.Request{Address: v.address(), Bytes: v.request(""), Body: upstreamBody}
	if _, err := bare.Run(ctx, 1, 0, func() error { return nil }); err == nil {
		return errors.New("it lets pass what has no credential")
	}
	after, err := s.upstream.reached()
	if err == nil && before != after {
		err = errors.New("a request without a credential reached the upstream")
	}
	return err
}

// measure sends requests to a variant for a while, and holds that the upstream got each of them, vouched for where Stepgate
// demands a step-up, and that the authorizer was asked for each where there is one, and never where there is none.
func (s *stage) measure(ctx context.Context, v *variant, d time.Duration) (o outcome, _ error) {
	upstream, err := s.upstream.reached()
	if err != nil {
		return o, err
	}
	asked := make([]reached, len(s.authorizers))
	for i, a := range s.authorizers {
		if asked[i], err = a.reached(); err != nil {
			return o, err
		}
	}
	request := load.Request{Address: v.address(), Bytes: v.request(v.credential), Body: upstreamBody}
	if o.Result, err = request.Run(ctx, clients, d, func() error { return s.clocks(v, &o, -1) }); err != nil {
		return o, err
	}
	if err := s.clocks(v, &o, 1); err != nil {
		return o, err
	}
	now, err := s.upstream.reached()
	if err != nil {
		return o, err
	}
	sent := int64(o.Requests)
	vouched := int64(0)
	if v.stepsUp {
		vouched = sent
	}
	if got := now.Requests - upstream.Requests; got != sent {
		return o, fmt.Errorf("%d requests were answered, and %d reached the upstream", sent, got)
	}
	if got := now.SteppedUp - upstream.SteppedUp; got != vouched {
		return o, fmt.Errorf("%d of %d requests reached the upstream with a user", got, vouched)
	}
	for i, a := range s.authorizers {
		now, err := a.reached()
		if err != nil {
			return o, err
		}
		want := int64(0)
		if a == v.authorizer {
			want, o.connections, o.judged = sent, now.Connections-asked[i].Connections, now.Requests-asked[i].Requests
		}
		if got := now.Requests - asked[i].Requests; got != want {
			return o, fmt.Errorf("%d requests were answered, and an authorizer was asked %d times", sent, got)
		}
	}
	return o, nil
}

// clocks adds the processor time that was used so far, or takes it away.
func (s *stage) clocks(v *variant, o *outcome, sign time.Duration) error {
	used, err := s.caddy.processor()
	if err != nil {
		return err
	}
	o.caddy += sign * used
	if v.authorizer != nil {
		if used, err = v.authorizer.processor(); err != nil {
			return err
		}
		o.authorizer += sign * used
	}
	return nil
}

// figures are what was measured of a variant, round by round.
type figures struct {
	rate                float64 // requests per second
	half, most          float64 // µs that 50 % and 99 % of the requests took at most
	caddy, authorizer   float64 // µs of the processor for a request
	judged, connections int64
}

// add sums up the blocks of a round.
func (v *variant) add(blocks []outcome) {
	var f figures
	results := []load.Result{}
	var caddy, authorizer time.Duration
	for _, o := range blocks {
		results = append(results, o.Result)
		caddy, authorizer = caddy+o.caddy, authorizer+o.authorizer
		f.judged, f.connections = f.judged+o.judged, f.connections+o.connections
	}
	all := load.Join(results...)
	requests := float64(all.Measured)
	f.rate = requests / all.Elapsed.Seconds()
	f.half, f.most = microseconds(all.Quantile(0.5)), microseconds(all.Quantile(0.99))
	f.caddy, f.authorizer = microseconds(caddy)/requests, microseconds(authorizer)/requests
	v.rounds = append(v.rounds, f)
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// values are one of a variant's figures, round by round.
func (v *variant) values(of func(figures) float64) (values []float64) {
	for _, f := range v.rounds {
		values = append(values, of(f))
	}
	return values
}

func rate(f figures) float64      { return f.rate }
func half(f figures) float64      { return f.half }
func most(f figures) float64      { return f.most }
func caddyTime(f figures) float64 { return f.caddy }
func askedTime(f figures) float64 { return f.authorizer }
func (v *variant) against(base *variant, of func(figures) float64) (sample.Summary, error) {
	return sample.Ratios(v.values(of), base.values(of))
}
