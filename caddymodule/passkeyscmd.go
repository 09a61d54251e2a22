package caddymodule

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "passkeys",
		Usage: "list|remove",
		Short: "Lists and removes the passkeys of a user",
		Long: `
Lists the passkeys of a user, and removes one: of somebody who lost a device and
can't do it on the account page.
` + whereHelp,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(passkeysList(), passkeysRemove())
		},
	})
}

func passkeysList() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list <user>",
		Short: "Lists the passkeys of a user",
		Long: `
Lists the passkeys of a user, oldest first. Times are UTC. The id is the one of
the audit log and of the header X-Stepgate-Passkey.
` + whereHelp + "\n" + exitHelp,
		Example: `  stepgate passkeys list alice@example.com
  stepgate passkeys list alice@example.com --json`,
		Args: arguments("a user"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return atDesk(cmd, func(d *desk) error {
				user, err := d.user(d.ctx, given[0])
				if err != nil {
					return err
				}
				return d.print(user.Passkeys, func() {
					if len(user.Passkeys) == 0 {
						d.showUser(user)
						return
					}
					d.showPasskeys(user.Passkeys)
				})
			})
		},
	}
	adminFlags(cmd)
	return cmd
}

func passkeysRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove <user> <id>",
		Short: "Removes a passkey of a user",
		Long: `
Removes one passkey of a user, also the last one. Grants made with it end; those
made with other passkeys live on. "stepgate passkeys list" tells the ids.

A user without a passkey can't register one on their sign-in alone: that works
once for each user.
` + whereHelp + "\n" + exitHelp,
		Example: `  stepgate passkeys remove alice@example.com 3xNqT5oW0c1kYb7dLrZ9uA`,
		Args:    arguments("a user", "the id of a passkey"),
		RunE: func(cmd *cobra.Command, given []string) error {
			return atDesk(cmd, func(d *desk) error {
				removed, err := d.remove(d.ctx, given[0], given[1])
				if err != nil {
					return err
				}
				return d.print(removed, func() {
					d.say("The passkey %s of %s is removed, and grants made with it have ended.", plain(removed.Name), plain(given[0]))
					d.sayLater()
				})
			})
		},
	}
	adminFlags(cmd)
	return cmd
}
