package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "check",
		Usage: "[--config <path>] [--adapter <name>] [--json]",
		Short: "Warns of what a configuration leaves open",
		Long: `
Reads a configuration and warns of what is valid and most likely not meant:
routes that no stepgate block covers, handlers that run before the gate,
identity headers that clients could set themselves, a first factor that does
not cover the gateway's own pages, error routes that serve protected files,
origins that no site serves and sites that no origin names, rules that never
match.

It opens nothing and needs no grant keys, so it can run wherever the
configuration is kept. "stepgate validate" tells whether the gateway can load
it; this tells whether it should.

Each finding has a severity: danger (somebody gets in who should not), warning
(something does not work, or protects less than it seems), note.

The exit code is 0 when there is nothing but notes, 2 when there are warnings or
dangers, and 1 when the configuration can't be read.`,
		CobraFunc: func(cmd *cobra.Command) {
			configFlags(cmd)
			cmd.Flags().Bool("json", false, "Print JSON, for scripts")
			cmd.Example = `  stepgate check
  stepgate check --config /etc/stepgate/Caddyfile --json`
			cmd.Args = cobra.NoArgs
			cmd.RunE = runCheck
		},
	})
}

// exitFindings is the exit code of a check that found something.
const exitFindings = 2

func runCheck(cmd *cobra.Command, _ []string) error {
	s, err := readSettings(cmd)
	if err != nil {
		return err
	}
	report := s.check()
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		err = printJSON(cmd.OutOrStdout(), report)
	} else {
		report.show(cmd.OutOrStdout())
	}
	if err == nil && report.Dangers+report.Warnings > 0 {
		os.Exit(exitFindings) // Caddy's command line knows no other code for an error than 1
	}
	return err
}

// severity is how bad a finding is.
type severity string

// The severities.
const (
	danger  severity = "danger"  // somebody gets in who should not
	warning severity = "warning" // something does not work, or protects less than it seems
	note    severity = "note"    // to be known
)

// finding is one thing that a check found. Its id is stable; docs/operating.md lists them all.
type finding struct {
	ID       string   `json:"id"`
	Severity severity `json:"severity"`
	Site     string   `json:"site,omitempty"`
	Place    string   `json:"place,omitempty"` // file and line
	Path     string   `json:"path,omitempty"`  // in the JSON configuration
	Text     string   `json:"text"`            // what could happen
	Fix      string   `json:"fix"`             // what to write instead
}

type checkReport struct {
	Dangers  int       `json:"dangers"`
	Warnings int       `json:"warnings"`
	Notes    int       `json:"notes"`
	Findings []finding `json:"findings"`
}

// linter collects findings.
type linter struct {
	*settings
	findings []finding
}

// check looks for everything that docs/operating.md lists.
func (s *settings) check() checkReport {
	l := &linter{settings: s}
	l.options()
	l.reachOrigins()
	l.related()
	for _, srv := range s.servers {
		for _, st := range srv.sites {
			l.site(st)
		}
	}
	l.sameUpstream()
	report := checkReport{Findings: []finding{}}
	rank := map[severity]int{danger: 0, warning: 1, note: 2}
	slices.SortStableFunc(l.findings, func(a, b finding) int { return cmp.Compare(rank[a.Severity], rank[b.Severity]) })
	for _, f := range l.findings {
		if slices.Contains(report.Findings, f) {
			continue // a snippet that several handlers came from
		}
		report.Findings = append(report.Findings, f)
		switch f.Severity {
		case danger:
			report.Dangers++
		case warning:
			report.Warnings++
		default:
			report.Notes++
		}
	}
	return report
}

// found adds a finding about a handler, or about a site where there is none.
func (l *linter) found(id string, s severity, st *site, h *handlerNode, text, fix string) {
	f := finding{ID: id, Severity: s, Text: text, Fix: fix}
	if st != nil {
		f.Site, f.Place, f.Path = st.name(), st.place.String(), st.path
	}
	if h != nil {
		f.Place, f.Path = h.place.String(), h.path
	}
	l.findings = append(l.findings, f)
}

func (r checkReport) show(out io.Writer) {
	for _, f := range r.Findings {
		where := orDefault(f.Place, f.Path)
		if where == "" {
			where = "global options"
		}
		fmt.Fprintf(out, "%s: %s [%s]\n", f.Severity, where, f.ID)
		if f.Site != "" {
			fmt.Fprintf(out, "  %s\n", f.Site)
		}
		fmt.Fprintf(out, "  %s\n  %s\n\n", f.Text, f.Fix)
	}
	if len(r.Findings) == 0 {
		fmt.Fprintln(out, "nothing found")
		return
	}
	fmt.Fprintln(out, strings.Join([]string{count(r.Dangers, "danger"), count(r.Warnings, "warning"), count(r.Notes, "note")}, ", "))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// isNoSite reports whether nothing serves what was asked about.
func isNoSite(err error) bool { return errors.Is(err, errNoSite) }
