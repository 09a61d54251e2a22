package caddymodule

import (
	"github.com/spf13/cobra"
)

// deletionReport is what `stepgate users delete --json` prints.
type deletionReport struct {
	User     string          `json:"user"`
	Done     bool            `json:"done"`
	Passkeys []passkeyRecord `json:"passkeys"` // that were removed, or would be
}

func usersDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete <user>",
		Short: "Deletes everything that is stored about a user",
		Long: `
Deletes everything that is stored about a user: passkeys, recovery codes, an
invitation, and the record that they were ever there. All of their grants end.
For somebody who left, or who asks for it.

It says what it would do, and does it only with --yes. A deletion that was cut
off is gone on with by running the same command again.

Afterwards Stepgate has never seen this user: whoever the sign-in calls by this
name may register a first passkey again, on their sign-in alone (with
"registration invite" only by invitation). For somebody who lost their devices
and stays, "stepgate reset" is the command. Audit logs and backups keep what they
hold.
` + whereHelp + `

The exit code is 0 when it is done, or without --yes when it could be, and 1
otherwise.`,
		Example: `  stepgate users delete alice@example.com
  stepgate users delete alice@example.com --yes`,
		Args: arguments("a user"),
		RunE: runDelete,
	}
	adminFlags(cmd)
	cmd.Flags().Bool("yes", false, "Do it")
	return cmd
}

func runDelete(cmd *cobra.Command, given []string) error {
	return atDesk(cmd, func(d *desk) error {
		if yes, _ := cmd.Flags().GetBool("yes"); !yes {
			stored, err := d.stored(d.ctx, given[0])
			if err != nil {
				return err
			}
			report := deletionReport{User: given[0], Passkeys: []passkeyRecord{}}
			for _, p := range stored.Passkeys {
				report.Passkeys = append(report.Passkeys, p.passkeyRecord)
			}
			return d.print(report, func() {
				d.say("This would delete everything that is stored about %s, with %s, and end all of their grants.", plain(given[0]), count(len(report.Passkeys), "passkey"))
				d.sayAfterDeletion(given[0])
				if len(report.Passkeys) > 0 {
					d.say("")
					d.showPasskeys(report.Passkeys)
				}
				d.say("\nNothing was changed. With --yes it is done.")
			})
		}
		done, err := d.erase(d.ctx, given[0], "")
		if err != nil {
			return err
		}
		return d.print(deletionReport{given[0], true, done.Removed}, func() {
			d.say("Everything that was stored about %s is deleted, with %s, and all of their grants have ended.", plain(given[0]), count(len(done.Removed), "passkey"))
			d.sayAfterDeletion(given[0])
			d.sayLater()
		})
	})
}

// sayAfterDeletion says what follows: whoever deletes somebody who stays opens their name to whoever signs in by it.
func (d *desk) sayAfterDeletion(name string) {
	d.say("Whoever the sign-in calls %s may register a first passkey again (with \"registration invite\": only by invitation). Audit logs and backups keep what they hold.", plain(name))
}
