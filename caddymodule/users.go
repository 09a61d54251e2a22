package caddymodule

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "users",
		Usage: "[--without-passkey] [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Lists users and their passkeys",
		Long: `
Lists everybody who ever registered a passkey: how many they have now, the
highest level that one of them reaches, when one was last used, and since when
they have the oldest. Times are UTC. "stepgate users show" tells more of one,
"stepgate users delete" deletes one.
` + whereHelp + `

With --json it prints one JSON object a line, with all passkeys of a user.
Names that could be mistaken, or do something to a terminal, are quoted.
` + exitHelp,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Flags().Bool("without-passkey", false, "List only users who have no passkey now")
			cmd.Example = `  stepgate users
  stepgate users --without-passkey --json
  stepgate users show alice@example.com`
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return atDesk(cmd, listUsers) }
			cmd.AddCommand(usersShow(), usersDelete())
		},
	})
}

func usersShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <user>",
		Short: "Shows a user and their passkeys",
		Long: `
Shows a user: the highest level they reach, their passkeys as "stepgate passkeys
list" does, how many recovery codes they have left, and until when an invitation is
good.

With --json it prints everything that is stored about them, as for a request of
theirs, but for digests of codes, which are of use only to a thief.
` + whereHelp + "\n" + exitHelp,
		Args: arguments("a user"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return atDesk(cmd, func(d *desk) error {
				stored, err := d.stored(d.ctx, given[0])
				if err != nil {
					return err
				}
				return d.print(stored, func() { d.showStored(stored) })
			})
		},
	}
	adminFlags(cmd)
	return cmd
}

// listUsers prints all users.
func listUsers(d *desk) error {
	without, _ := d.cmd.Flags().GetBool("without-passkey")
	asJSON, _ := d.cmd.Flags().GetBool("json")
	lines := json.NewEncoder(d.cmd.OutOrStdout())
	lines.SetEscapeHTML(false)
	table := tabwriter.NewWriter(d.cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "USER\tPASSKEYS\tLEVEL\tLAST USED\tSINCE")
	var users, passkeys, none int
	err := d.each(d.ctx, func(user userRecord) error {
		users++
		passkeys += len(user.Passkeys)
		if len(user.Passkeys) == 0 {
			none++
		} else if without {
			return nil
		}
		if asJSON {
			return lines.Encode(user)
		}
		_, err := fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n",
			plain(user.User), len(user.Passkeys), plain(orDefault(user.Level, "-")), when(user.LastUsedAt, "-"), when(user.Since, "-"))
		return err
	})
	if err != nil {
		return err
	}
	if asJSON {
		return nil
	}
	if err := table.Flush(); err != nil {
		return err
	}
	d.say("\n%s, %s; %d without a passkey", count(users, "user"), count(passkeys, "passkey"), none)
	return nil
}

// showStored prints what is stored about a user, as far as people read it.
func (d *desk) showStored(r storedRecord) {
	user := r.userRecord
	user.Passkeys = nil
	for _, p := range r.Passkeys {
		user.Passkeys = append(user.Passkeys, p.passkeyRecord)
	}
	if r.InvitationExpired != nil {
		d.say("%s had an invitation that was good until %s UTC.", plain(user.User), when(r.InvitationExpired, ""))
	}
	d.showUser(user)
	if r.RecoveryCodes.MadeAt != nil {
		d.say("\n%s left, made %s UTC.", count(r.RecoveryCodes.Left, "recovery code"), when(r.RecoveryCodes.MadeAt, ""))
	} else if user.Registered {
		d.say("\nNo recovery codes were made.")
	}
}

// showUser prints a user with their passkeys.
func (d *desk) showUser(user userRecord) {
	if user.Invited != nil {
		d.say("%s has an invitation that is good until %s UTC.", plain(user.User), when(user.Invited, ""))
	}
	switch {
	case !user.Registered:
		d.say("%s never registered a passkey.", plain(user.User))
		return
	case len(user.Passkeys) == 0:
		d.say("%s has no passkey now, and had one before.", plain(user.User))
		return
	}
	d.say("%s has %s; the highest level is %s.\n", plain(user.User), count(len(user.Passkeys), "passkey"), plain(user.Level))
	d.showPasskeys(user.Passkeys)
}

// showPasskeys prints a table of passkeys.
func (d *desk) showPasskeys(list []passkeyRecord) {
	table := tabwriter.NewWriter(d.cmd.OutOrStdout(), 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tAUTHENTICATOR\tLEVEL\tREGISTERED\tLAST USED\tON")
	for _, p := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", plain(p.ID), plain(p.Name), plainText(p.Authenticator), plain(p.Level), when(&p.CreatedAt, ""), when(p.LastUsedAt, "never"), plain(orDefault(p.LastUsedOn, "-")))
	}
	_ = table.Flush()
}
