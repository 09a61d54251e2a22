package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "forecast",
		Usage: "--users <file>|- [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Tells who would be locked out today",
		Long: `
Reads a list of users, one a line (empty lines and lines that begin with # are
passed over), and tells who of them could not get to everything today if every
rule of the configuration were enforced, whatever modes it has:

  ok                   a passkey reaches the strictest level that any rule demands
  no_passkey           never registered a passkey: where "registration first_use"
                       holds, they are asked to at the first protected page
  registration_closed  had passkeys and has none now: only an invitation helps
  level_unreachable    has passkeys, and none reaches that level: they add one
                       that does on the account page

Names are those of the first factor. Where all sites have fold_user, they are
folded as the sites do.
` + whereHelp + `

The exit code is 0 when all are ok, 2 when somebody is not, and 1 when that
can't be told.`,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Flags().String("users", "", "The list of users; - for standard input")
			cmd.Example = `  stepgate forecast --users team.txt
  cut -d, -f2 people.csv | stepgate forecast --users - --json`
			cmd.Args = cobra.NoArgs
			cmd.RunE = runForecast
		},
	})
}

// lookups is how many users are asked about at the same time.
const lookups = 8

// prospect is what a user of the list would meet.
type prospect struct {
	User     string `json:"user"`
	State    string `json:"state"` // "ok", or the code of what they would be told
	Passkeys int    `json:"passkeys"`
	Level    string `json:"level,omitempty"` // the highest that they reach
}

// forecastReport is what `stepgate forecast --json` prints.
type forecastReport struct {
	Demanded string         `json:"demanded"` // the strictest level of the configuration
	Total    int            `json:"total"`
	Counts   map[string]int `json:"counts"` // by state
	Users    []prospect     `json:"users"`
}

const stateOK = "ok"

// states are those of a prospect, in the order of the summary, and what they are called there.
var states = []struct{ state, words string }{
	{stateOK, "ok"},
	{string(passkey.NoPasskey), "never registered a passkey"},
	{string(passkey.RegistrationClosed), "without a passkey, and registration closed"},
	{string(passkey.LevelUnreachable), "without a passkey of the level"},
}

func runForecast(cmd *cobra.Command, _ []string) error {
	path, _ := cmd.Flags().GetString("users")
	if path == "" {
		return errors.New("name the list of users with --users")
	}
	s, err := readSettings(cmd)
	if err != nil {
		return err
	}
	demanded, fold, err := s.strictest()
	if err != nil {
		return err
	}
	names, err := readNames(path, fold)
	if err != nil {
		return err
	}
	var report forecastReport
	err = atDesk(cmd, func(d *desk) error {
		prospects, err := forecast(d.ctx, d, names, demanded)
		if err != nil {
			return err
		}
		report = newForecastReport(prospects, demanded)
		return d.print(report, func() { d.showForecast(report) })
	})
	if err == nil && report.Counts[stateOK] < report.Total {
		os.Exit(exitFindings) // Caddy's command line knows no other code for an error than 1
	}
	return err
}

// strictest returns the highest level that any rule demands, enforced or not, and whether all sites fold names.
func (s *settings) strictest() (level passkey.Level, fold bool, err error) {
	gates, folding := 0, 0
	for _, server := range s.servers {
		for _, site := range server.sites {
			for _, h := range site.gates {
				gates++
				if h.gate.FoldUser {
					folding++
				}
				block, err := passkey.ParseLevel(orDefault(h.gate.Level, passkey.Verified.String()))
				if err != nil {
					return 0, false, err
				}
				level = max(level, block)
				for _, rule := range h.gate.Rules {
					if rule.Action != "protect" || rule.Level == "" {
						continue
					}
					own, err := passkey.ParseLevel(rule.Level)
					if err != nil {
						return 0, false, err
					}
					level = max(level, own)
				}
			}
		}
	}
	if gates == 0 {
		return 0, false, errors.New("no site of the configuration has a stepgate block, so nobody would be asked for anything")
	}
	return level, folding == gates, nil
}

// readNames reads a list of users. A name that no first factor could hand over is an error: the list is not what it
// should be.
func readNames(path string, fold bool) (names []string, err error) {
	in := io.Reader(os.Stdin)
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("opening the list of users: %w", err)
		}
		defer file.Close()
		in = file
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(in)
	number := 0
	for lines.Scan() {
		number++
		name := strings.TrimSpace(lines.Text())
		if number == 1 {
			name = strings.TrimPrefix(name, "\ufeff") // as some editors begin a file
		}
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if err := passkey.CheckUser(name); err != nil {
			return nil, fmt.Errorf("%s, line %d: %s", path, number, adminMessages[passkey.UserInvalid])
		}
		if fold {
			name = gate.FoldUser(name)
		}
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the list of users behind line %d: %w", number, err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s names no user", path)
	}
	return names, nil
}

// forecast asks about each user, several at a time, and keeps the order. The first error ends it.
func forecast(ctx context.Context, on administration, names []string, demanded passkey.Level) ([]prospect, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	prospects := make([]prospect, len(names))
	var wait sync.WaitGroup
	turns := make(chan struct{}, lookups)
	for i, name := range names {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wait.Go(func() {
			defer func() { <-turns }()
			user, err := on.user(ctx, name)
			if err != nil && !errors.Is(err, passkey.UserUnknown) {
				cancel(fmt.Errorf("user %s: %w", plain(name), err))
				return
			}
			prospects[i] = prospectOf(name, user, err == nil, demanded)
		})
	}
	wait.Wait()
	return prospects, context.Cause(ctx)
}

func prospectOf(name string, user userRecord, known bool, demanded passkey.Level) prospect {
	p := prospect{User: name, State: stateOK, Passkeys: len(user.Passkeys), Level: user.Level}
	level, err := passkey.ParseLevel(user.Level)
	switch {
	case !known:
		p.State = string(passkey.NoPasskey)
	case p.Passkeys == 0:
		p.State = string(passkey.RegistrationClosed)
	case err != nil || level < demanded:
		p.State = string(passkey.LevelUnreachable)
	}
	return p
}

func newForecastReport(prospects []prospect, demanded passkey.Level) forecastReport {
	r := forecastReport{Demanded: demanded.String(), Total: len(prospects), Counts: map[string]int{}, Users: prospects}
	for _, s := range states {
		r.Counts[s.state] = 0
	}
	for _, p := range prospects {
		r.Counts[p.State]++
	}
	return r
}

func (d *desk) showForecast(r forecastReport) {
	d.say("The strictest level that the configuration demands is %s.\n", r.Demanded)
	table := tabwriter.NewWriter(d.cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "USER\tSTATE\tPASSKEYS\tLEVEL")
	for _, p := range r.Users {
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", plain(p.User), p.State, p.Passkeys, plain(orDefault(p.Level, "-")))
	}
	_ = table.Flush()
	d.say("\n%s:", count(r.Total, "user"))
	for _, s := range states {
		d.say("  %4d  %3d%%  %s", r.Counts[s.state], 100*r.Counts[s.state]/r.Total, s.words)
	}
}
