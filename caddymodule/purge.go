package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"os"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "purge",
		Usage: "--absent-from <file>|- [--yes] [--at-most <number>] [--unused-for <duration>] [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Deletes the users that the directory no longer has",
		Long: `
Reads a list of all users that the directory has, one a line (empty lines and
lines that begin with # are passed over), and deletes everything that is stored
about everybody else, as "stepgate users delete" does. It says who that would be,
and does it only with --yes.

Names are those of the first factor. Where any site has fold_user, a user stays
whose name is on the list in any case, also one of a site that does not fold.
A name with characters that can't be seen in front or behind is refused.

These stay as well:

  recent      registered or used a passkey in the last 24 hours, or has an
              invitation that is still good: they may have come after the list was
              made. --unused-for says how long, and takes nobody out with 0
  unnameable  has a name that such a list can't hold (white space or what can't be
              seen around it, or a # in front): use "stepgate users delete"

A list that is cut short, or of another directory, would delete people who stay,
and open their names to a first passkey. So nothing is deleted when the list names
nobody, or nobody that is known, or when more than half of the users and more
than 10 would go. Where that is meant, --at-most says how many may go.

Whoever is changed, invited, or uses a passkey between the look at them and their
turn stays, and is told of; who has lost passkeys by then has failed. What fails for one user does not hold up the others; the
command may be run again.
` + whereHelp + `

The exit code is 0 when nobody has to go or all are gone, 2 when somebody would go
without --yes, and 1 when something is wrong or somebody who should go is there
still.`,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Flags().String("absent-from", "", "The list of all users that stay; - for standard input")
			cmd.Flags().Bool("yes", false, "Do it")
			cmd.Flags().Int("at-most", 0, "How many users may go (default: half of them, or 10)")
			cmd.Flags().Duration("unused-for", 24*time.Hour, "Who registered or used a passkey in this time stays")
			cmd.Example = `  stepgate purge --absent-from staff.txt
  directory-export > staff.txt && stepgate purge --absent-from staff.txt --yes`
			cmd.Args = cobra.NoArgs
			cmd.RunE = runPurge
		},
	})
}

// leaver is a user whom the list does not name, and what becomes of them.
type leaver struct {
	User       string     `json:"user"`
	State      string     `json:"state"`
	Problem    string     `json:"problem,omitempty"`
	Passkeys   int        `json:"passkeys"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	tag        string
}

// The states of a leaver.
const (
	leaverAbsent     = "absent"     // would be deleted, or was not reached
	leaverDeleted    = "deleted"    //
	leaverRecent     = "recent"     // stays
	leaverUnnameable = "unnameable" // stays
	leaverChanged    = "changed"    // since they were looked at: stays
	leaverFailed     = "failed"     //
)

// purgeReport is what `stepgate purge --json` prints.
type purgeReport struct {
	Done    bool           `json:"done"`              // it was not a dry run
	Refused string         `json:"refused,omitempty"` // why --yes would be refused
	Total   int            `json:"total"`             // users there were
	Named   int            `json:"named"`             // of them are on the list
	Counts  map[string]int `json:"counts"`            // by state
	Users   []leaver       `json:"users"`
}

func runPurge(cmd *cobra.Command, _ []string) error {
	path, _ := cmd.Flags().GetString("absent-from")
	unused, _ := cmd.Flags().GetDuration("unused-for")
	yes, _ := cmd.Flags().GetBool("yes")
	switch most, _ := cmd.Flags().GetInt("at-most"); {
	case path == "":
		return errors.New("name the list of users who stay with --absent-from")
	case unused < 0:
		return errors.New("--unused-for is negative")
	case most < 0 && cmd.Flags().Changed("at-most"):
		return errors.New("--at-most is negative")
	}
	stays, err := staying(cmd, path)
	if err != nil {
		return err
	}
	var report purgeReport
	err = atDesk(cmd, func(d *desk) error {
		if report, err = d.leaving(stays, unused); err != nil {
			return err
		}
		refused := report.tooMany(cmd)
		switch {
		case yes && refused != nil:
			return refused
		case yes:
			err = d.purge(&report)
		case refused != nil:
			report.Refused = refused.Error()
		}
		return errors.Join(d.print(report, func() { d.showPurge(report) }), err)
	})
	if err == nil && !yes && report.Counts[leaverAbsent] > 0 {
		os.Exit(exitFindings) // Caddy's command line knows no other code for an error than 1
	}
	return err
}

// staff are the users who stay.
type staff struct {
	names map[string]bool // also folded, if any site folds names
	fold  bool
}

// has reports whether the list names them in any way. Two sites may call one person differently, and a site may have begun to
// fold after somebody registered there: so a stored name counts folded as well.
func (s staff) has(user string) bool { return s.names[user] || s.fold && s.names[gate.FoldUser(user)] }

// staying reads the list.
func staying(cmd *cobra.Command, path string) (stays staff, err error) {
	s, err := readSettings(cmd)
	if err != nil {
		return stays, err
	}
	for _, server := range s.servers {
		for _, site := range server.sites {
			for _, h := range site.gates {
				stays.fold = stays.fold || h.gate.FoldUser
			}
		}
	}
	names, err := readNames(path, false)
	if err != nil {
		return stays, err
	}
	stays.names = make(map[string]bool, len(names))
	for _, name := range names {
		stays.names[name] = true
		if stays.fold {
			stays.names[gate.FoldUser(name)] = true
		}
	}
	return stays, nil
}

// leaving looks at every user. Who was there within recently counts as recent.
func (d *desk) leaving(stays staff, recently time.Duration) (purgeReport, error) {
	since := time.Now().Add(-recently)
	report := purgeReport{Users: []leaver{}}
	err := d.each(d.ctx, func(user userRecord) error {
		report.Total++
		if stays.has(user.User) {
			report.Named++
			return nil
		}
		gone := leaver{User: user.User, State: leaverAbsent, Passkeys: len(user.Passkeys), LastUsedAt: user.LastUsedAt, tag: user.Tag}
		switch {
		case unnameable(user.User):
			gone.State = leaverUnnameable
		case recently > 0 && user.activeSince(since):
			gone.State = leaverRecent
		case user.Tag == "":
			return errors.New("the gateway there is of another version: it does not tell whether a user changes meanwhile")
		}
		report.Users = append(report.Users, gone)
		return nil
	})
	report.count()
	return report, err
}

// activeSince reports whether the user registered or used a passkey since then, or is invited.
func (r userRecord) activeSince(since time.Time) bool {
	active := r.Invited != nil
	for _, p := range r.Passkeys {
		active = active || p.CreatedAt.After(since) || p.LastUsedAt != nil && p.LastUsedAt.After(since)
	}
	return active
}

func (r *purgeReport) count() {
	r.Counts = map[string]int{leaverAbsent: 0, leaverDeleted: 0, leaverRecent: 0, leaverUnnameable: 0, leaverChanged: 0, leaverFailed: 0}
	for _, user := range r.Users {
		r.Counts[user.State]++
	}
}

// mayGo is how many may go whatever their share is.
const mayGo = 10

// tooMany is why so many may not go, or nil.
func (r *purgeReport) tooMany(cmd *cobra.Command) error {
	leaving := r.Counts[leaverAbsent]
	most, _ := cmd.Flags().GetInt("at-most")
	given := cmd.Flags().Changed("at-most")
	if !given {
		most = max(mayGo, r.Total/2)
	}
	switch {
	case leaving == 0:
		return nil
	case !given && r.Named == 0:
		return fmt.Errorf("of %s nobody is on the list: is it of another directory? If they are to go, say --at-most %d", count(r.Total, "user"), leaving)
	case leaving > most && given:
		return fmt.Errorf("%d of %s would go, and --at-most allows %d", leaving, count(r.Total, "user"), most)
	case leaving > most:
		return fmt.Errorf("%d of %s would go, more than half: is the list cut short? If they are to go, say --at-most %d", leaving, count(r.Total, "user"), leaving)
	}
	return nil
}

// purgePatience is how many failures in a row end a purge: then it is not about the users.
const purgePatience = 5

// errIncomplete is the error of a purge after which somebody is there who should be gone.
var errIncomplete = errors.New("not all who should go are gone; run it again")

// purge deletes them. It returns an error when somebody is left, and notes in the report what became of whom.
func (d *desk) purge(report *purgeReport) error {
	report.Done = true
	meter := newMeter("deleted")
	var stopped error
	failures := 0
	for i := range report.Users {
		user := &report.Users[i]
		if user.State != leaverAbsent {
			continue
		}
		if stopped = d.ctx.Err(); stopped != nil {
			break
		}
		_, err := d.erase(d.ctx, user.User, user.tag)
		failures++
		switch refusal := refusalIn(err); {
		case err == nil, refusal == passkey.UserUnknown: // somebody else deleted them
			user.State, failures = leaverDeleted, 0
		case refusal == passkey.Conflict && removedBefore(err) > 0: // they changed in the middle: what is gone is gone
			user.State, user.Problem, failures = leaverFailed, worded(err).Error(), 0
		case refusal == passkey.Conflict:
			user.State, user.Problem, failures = leaverChanged, worded(err).Error(), 0
		case refusal == passkey.AuditUnavailable:
			user.State, user.Problem = leaverDeleted, worded(err).Error()
			failures = math.MaxInt // who is deleted from here on would leave no line
		default:
			user.State, user.Problem = leaverFailed, worded(err).Error()
		}
		if failures >= purgePatience {
			stopped = err
			break
		}
		meter.Show(purged{i + 1, len(report.Users)})
	}
	meter.End()
	report.count()
	switch {
	case d.ctx.Err() != nil:
		return errors.Join(errors.New("interrupted"), errIncomplete)
	case stopped != nil:
		return fmt.Errorf("given up: %v; %w", worded(stopped), errIncomplete)
	case report.Counts[leaverFailed]+report.Counts[leaverChanged] > 0:
		return errIncomplete
	}
	return nil
}

// purged is how far a purge is.
type purged struct{ done, all int }

func (p purged) String() string { return fmt.Sprintf("%d of %s", p.done, count(p.all, "user")) }

func (d *desk) showPurge(r purgeReport) {
	if len(r.Users) > 0 {
		table := tabwriter.NewWriter(d.cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
		fmt.Fprintln(table, "USER\tSTATE\tPASSKEYS\tLAST USED")
		for _, user := range r.Users {
			fmt.Fprintf(table, "%s\t%s\t%d\t%s", plain(user.User), user.State, user.Passkeys, when(user.LastUsedAt, "-"))
			if user.Problem != "" {
				fmt.Fprintf(table, "\t%s", plainText(user.Problem))
			}
			fmt.Fprintln(table)
		}
		_ = table.Flush()
		d.say("")
	}
	d.say("%s, %d of them on the list.", count(r.Total, "user"), r.Named)
	switch {
	case r.Counts[leaverAbsent]+r.Counts[leaverDeleted]+r.Counts[leaverChanged]+r.Counts[leaverFailed] == 0:
		d.say("Nobody has to go.")
	case r.Done:
		d.say("%s deleted. Whoever the sign-in calls by one of these names may register a first passkey again (with \"registration invite\": only by invitation).", count(r.Counts[leaverDeleted], "user"))
		d.sayLater()
	default:
		d.say("%s would be deleted. Nothing was changed.", count(r.Counts[leaverAbsent], "user"))
		if r.Refused != "" {
			d.say("With --yes this is refused: %s.", r.Refused)
		} else {
			d.say("With --yes it is done.")
		}
	}
}
