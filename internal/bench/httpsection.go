package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
)

// section says what was measured.
func (s *stage) section(rounds int, block time.Duration, memory []float64) (report.Section, error) {
	section := report.Section{Title: "Requests through Caddy"}
	ofBare, err := s.protected.against(s.bare, rate)
	if err != nil {
		return section, err
	}
	ofForward, err := s.protected.against(s.forward, rate)
	if err != nil {
		return section, err
	}
	control, err := s.control.against(s.bare, rate)
	if err != nil {
		return section, err
	}
	section.Targets = []report.Target{
		{Key: "http-of-bare", What: "requests per second on a protected route, against Caddy without Stepgate", Wanted: "at least 0.95",
			Measured: report.SpreadOf(ofBare, 3), Met: ofBare.Median >= minOfBare},
		{Key: "http-of-forward-auth", What: "the same against `forward_auth` to an authorizer that says 200 at once", Wanted: "at least 1.5",
			Measured: report.SpreadOf(ofForward, 2), Met: ofForward.Median >= minOfForward},
	}

	table := report.Table{Columns: []string{"variant", "requests/s", "of Caddy's", "p50, µs", "p99, µs", "Caddy's processor time, µs a request", "the authorizer's"}}
	meanings := []string{}
	bars := report.Bars{Name: "requests", Title: "Requests per second", Unit: fmt.Sprintf("through one Caddy, %d connections; whiskers from quartile to quartile", clients)}
	words := []string{}
	for _, v := range s.variants {
		row, perSecond, err := s.row(v)
		if err != nil {
			return section, err
		}
		table.Rows = append(table.Rows, row)
		meanings = append(meanings, "- *"+v.name+"*: "+v.kind)
		kind := report.Other
		switch v {
		case s.open, s.protected:
			kind = report.Ours
		case s.bare, s.control, s.headers:
			kind = report.Baseline
		}
		bars.Bars = append(bars.Bars, report.Bar{Label: v.name, Value: perSecond, Printed: report.Number(perSecond.Median) + "/s", Kind: kind})
		words = append(words, v.name+": "+report.Number(perSecond.Median))
	}
	bars.Description = strings.Join(words, ", ") + "."

	section.Blocks = []report.Block{
		report.Text(fmt.Sprintf(`
All variants are sites of one process, on 127.0.0.1, with one upstream process behind them that answers %d bytes at once. %d
connections send a request, wait for its answer and send the next, from the same machine. Each of %d rounds goes through the
variants in a random order and back again, %v each time. The request has the 13 headers of Chrome's for a script and four cookies,
one of them the credential or one as long. Before and in each block it is checked that every answer is 200 with the right body, and that the upstream and the
authorizer got exactly as many requests as were answered.

The second *Caddy* is the same site once more. Its ratio to the first, %s, is what this measurement can't tell from
nothing; below 10 %%, the handler's own benchmark decides.`, len(upstreamBody), clients, rounds, block, report.SpreadOf(control, 3))),
		report.Text(strings.Join(meanings, "\n")),
		table, bars,
	}
	short, err := s.connections()
	if err != nil {
		return section, err
	}
	section.Blocks = append(section.Blocks, report.Text(short+fmt.Sprintf(`

At the end, the Caddy process with all of these sites held %s MiB of anonymous memory, and the two authorizers, which do
nothing but answer, %s and %s MiB.`, report.Number(memory[0]), report.Number(memory[1]), report.Number(memory[2]))))
	return section, nil
}

// row is a variant's row of the table, with its requests per second.
func (s *stage) row(v *variant) ([]string, sample.Summary, error) {
	perSecond, err := sample.Of(v.values(rate))
	if err != nil {
		return nil, perSecond, err
	}
	row := []string{v.name, report.Spread(perSecond)}
	ratio, err := v.against(s.bare, rate)
	if err != nil {
		return nil, perSecond, err
	}
	if v == s.bare {
		row = append(row, "1")
	} else {
		row = append(row, report.SpreadOf(ratio, 3))
	}
	for _, of := range []func(figures) float64{half, most, caddyTime} {
		summary, err := sample.Of(v.values(of))
		if err != nil {
			return nil, perSecond, err
		}
		row = append(row, report.Spread(summary))
	}
	if v.authorizer == nil {
		return append(row, "–"), perSecond, nil
	}
	asked, err := sample.Of(v.values(askedTime))
	return append(row, report.Spread(asked)), perSecond, err
}

// connections says how often Caddy connected to the authorizers.
func (s *stage) connections() (string, error) {
	said := []string{}
	for _, v := range []*variant{s.forward, s.forwardBody} {
		var judged, connections int64
		for _, f := range v.rounds {
			judged, connections = judged+f.judged, connections+f.connections
		}
		if judged == 0 {
			return "", fmt.Errorf("%s judged nothing", v.name)
		}
		said = append(said, fmt.Sprintf("%s for %s requests (%s)", report.Whole(float64(connections)), report.Whole(float64(judged)), v.name))
	}
	return "Connections that Caddy opened to the authorizers: " + strings.Join(said, "; ") +
		". It does not read the body of such an answer, so it can't use the connection again, and several real authorizers send one.", nil
}
