package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "revoke",
		Usage: "<user> [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Ends all grants of a user",
		Long: `
Ends all grants of a user, in every browser: they use a passkey once more. The
passkeys stay.
` + whereHelp + "\n" + exitHelp,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Example = `  stepgate revoke alice@example.com`
			cmd.Args = arguments("a user")
			cmd.RunE = runRevoke
		},
	})
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "reset",
		Usage: "<user> [--yes] [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Removes all passkeys of a user",
		Long: `
Removes all passkeys of a user and ends all of their grants: of somebody who lost
every device, or whose account was taken over.

It says what it would do, and does it only with --yes. A reset that was cut off
is gone on with by running the same command again.

Afterwards the user can't register a passkey on their sign-in alone, because that
works once for each user: only a new invitation ("stepgate invite") lets them
register again.
` + whereHelp + `

The exit code is 0 when it is done, or without --yes when it could be, and 1
otherwise.`,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Flags().Bool("yes", false, "Do it")
			cmd.Example = `  stepgate reset alice@example.com
  stepgate reset alice@example.com --yes`
			cmd.Args = arguments("a user")
			cmd.RunE = runReset
		},
	})
}

func runRevoke(cmd *cobra.Command, given []string) error {
	return atDesk(cmd, func(d *desk) error {
		if err := d.revoke(d.ctx, given[0]); err != nil {
			return err
		}
		return d.print(revokedRecord{given[0], true}, func() {
			d.say("All grants of %s have ended.", plain(given[0]))
			d.sayLater()
		})
	})
}

// resetReport is what `stepgate reset --json` prints.
type resetReport struct {
	User     string          `json:"user"`
	Done     bool            `json:"done"`
	Passkeys []passkeyRecord `json:"passkeys"` // that were removed, or would be
}

const afterReset = "Only a new invitation (stepgate invite) lets them register a passkey again."

func runReset(cmd *cobra.Command, given []string) error {
	return atDesk(cmd, func(d *desk) error {
		if yes, _ := cmd.Flags().GetBool("yes"); !yes {
			user, err := d.user(d.ctx, given[0])
			if err != nil {
				return err
			}
			return d.print(resetReport{user.User, false, user.Passkeys}, func() {
				d.say("This would remove %s of %s and end all of their grants. %s", count(len(user.Passkeys), "passkey"), plain(given[0]), afterReset)
				if len(user.Passkeys) > 0 {
					d.say("")
					d.showPasskeys(user.Passkeys)
				}
				d.say("\nNothing was changed. With --yes it is done.")
			})
		}
		done, err := d.reset(d.ctx, given[0])
		if err != nil {
			return err
		}
		return d.print(resetReport{given[0], true, done.Removed}, func() {
			d.say("%s of %s removed, and all of their grants have ended. %s", count(len(done.Removed), "passkey"), plain(given[0]), afterReset)
			d.sayLater()
		})
	})
}
