package main

import (
	"context"
	"errors"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// handlerParts are the parts that a judgement has. They do not overlap.
var handlerParts = []share{
	{"taking out of headers and cookies what the upstream may not get", `gate\.\(\*Gate\)\.scrub$`, ""},
	{"method, path, and the rule that decides", `gate\.(checkRequest|looksWellKnown|\(\*Gate\)\.(route|ownPath|originOf))$`, ""},
	{"who it is, and the gateway's view of them", `gate\.(\(\*Gate\)\.identify|\(\*Views\)\.peek)$`, ""},
	{"the grant, and the decision", `gate\.(\(\*view\)\.open|\(\*evidence\)\.judge)$`, ""},
	{"headers for the upstream", `gate\.\(\*Passed\)\.setHeaders$`, ""},
	{"the rest of the gate: counting, and memory for the request", `gate\.\(\*Gate\)\.Serve$`,
		`gate\.(\(\*Gate\)\.(scrub|route|ownPath|originOf|identify)|checkRequest|looksWellKnown|\(\*Views\)\.peek|\(\*view\)\.open|\(\*evidence\)\.judge|\(\*Passed\)\.setHeaders)$`},
	{"asking Caddy about the request, and telling it", `caddymodule\.\(\*Handler\)\.ServeHTTP$`, `gate\.\(\*Gate\)\.Serve$`},
}

// handlerShares profiles the handler's benchmark, and says what the handler's part of it goes into. time is the median, in ns.
func (l *lab) handlerShares(ctx context.Context, time float64) (report.Table, error) {
	profile, err := l.profileOf(ctx, "caddymodule", "Handler", pick(l, "3000000x", "200000x"))
	if err != nil {
		return report.Table{}, err
	}
	total, err := profile.of(ctx, share{with: `caddymodule\.\(\*Handler\)\.ServeHTTP$`})
	if err != nil {
		return report.Table{}, err
	}
	if total == 0 {
		return report.Table{}, errors.New("a profile of the handler without the handler")
	}
	table := report.Table{Columns: []string{"of the handler's time", "ns"}}
	for _, s := range handlerParts {
		part, err := profile.of(ctx, s)
		if err != nil {
			return report.Table{}, err
		}
		table.Rows = append(table.Rows, []string{s.what, report.Number(part / total * time)})
	}
	return table, nil
}
