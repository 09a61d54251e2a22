package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

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
  no_passkey           never registered a passkey: they are asked to at the first
                       protected page (with sign_in_time, soon after signing in)
  invitation_needed    the same under "registration invite": invite them
  registration_closed  had passkeys and has none now: invite them
  invited              has no passkey, and an invitation that is still good
  level_unreachable    has passkeys, and none reaches that level: they add one
                       that does on the account page

Names are those of the first factor. Where all sites have fold_user, they are
folded as the sites do. A name with characters that can't be seen in front or
behind is refused.
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

const (
	stateOK      = "ok"
	stateInvited = "invited"
)

// states are those of a prospect, in the order of the summary, and what they are called there.
var states = []struct{ state, words string }{
	{stateOK, "ok"},
	{string(passkey.NoPasskey), "never registered a passkey"},
	{string(passkey.InvitationNeeded), "never registered a passkey, and not invited"},
	{string(passkey.RegistrationClosed), "without a passkey, and registration closed"},
	{stateInvited, "invited"},
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
	demanded, err := s.demanded()
	if err != nil {
		return err
	}
	names, err := readNames(path, demanded.fold)
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

// demands are what a configuration demands of everybody.
type demands struct {
	level  passkey.Level // the highest of any rule, enforced or not
	fold   bool          // all sites fold names
	invite bool          // a first passkey needs an invitation
}

func (s *settings) demanded() (d demands, err error) {
	var gates []*Handler
	for _, server := range s.servers {
		for _, site := range server.sites {
			for _, h := range site.gates {
				gates = append(gates, h.gate)
			}
		}
	}
	if len(gates) == 0 {
		return d, errors.New("no site of the configuration has a stepgate block, so nobody would be asked for anything")
	}
	d = demands{fold: true, invite: s.app.Registration == "invite"}
	for _, gate := range gates {
		d.fold = d.fold && gate.FoldUser
		levels := []string{orDefault(gate.Level, passkey.Verified.String())}
		for _, rule := range gate.Rules {
			if rule.Action == "protect" && rule.Level != "" {
				levels = append(levels, rule.Level)
			}
		}
		for _, name := range levels {
			level, err := passkey.ParseLevel(name)
			if err != nil {
				return d, err
			}
			d.level = max(d.level, level)
		}
	}
	return d, nil
}

// forecast asks about each user, several at a time, and keeps the order. The first error ends it.
func forecast(ctx context.Context, on administration, names []string, demanded demands) ([]prospect, error) {
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

// prospectOf says what a user would meet; known is false for one never seen.
func prospectOf(name string, user userRecord, known bool, demanded demands) prospect {
	p := prospect{User: name, State: stateOK, Passkeys: len(user.Passkeys), Level: user.Level}
	level, err := passkey.ParseLevel(user.Level)
	switch {
	case known && p.Passkeys == 0 && user.Invited != nil:
		p.State = stateInvited
	case known && p.Passkeys == 0:
		p.State = string(passkey.RegistrationClosed)
	case !known && demanded.invite:
		p.State = string(passkey.InvitationNeeded)
	case !known:
		p.State = string(passkey.NoPasskey)
	case err != nil || level < demanded.level:
		p.State = string(passkey.LevelUnreachable)
	}
	return p
}

func newForecastReport(prospects []prospect, demanded demands) forecastReport {
	r := forecastReport{Demanded: demanded.level.String(), Total: len(prospects), Counts: map[string]int{}, Users: prospects}
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
		if r.Counts[s.state] == 0 && s.state != stateOK {
			continue
		}
		d.say("  %4d  %3d%%  %s", r.Counts[s.state], 100*r.Counts[s.state]/r.Total, s.words)
	}
}
