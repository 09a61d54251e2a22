package caddymodule

import (
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "invite",
		Usage: "<user> [--for <duration>] [--config <path>] [--adapter <name>] [--address <address>] [--json]",
		Short: "Lets a user register one passkey",
		Long: `
Makes an invitation: a code that lets this user, and nobody else, register one
passkey, once. For somebody who lost every passkey, and, with "registration
invite", for a first one. They must be signed in as ever.

The code is shown here and can't be looked up later; the store keeps a digest of
it. It takes the place of an earlier invitation. Hand it over in a way that only
this person reads: who has it and their sign-in can register a passkey of their
own. The link has it in the fragment, which reaches no server and no log.
` + whereHelp + "\n" + exitHelp,
		CobraFunc: func(cmd *cobra.Command) {
			adminFlags(cmd)
			cmd.Flags().Duration("for", 24*time.Hour, "How long it is good: 1m to 720h")
			cmd.Example = `  stepgate invite alice@example.com
  stepgate invite alice@example.com --for 30m --json`
			cmd.Args = arguments("a user")
			cmd.RunE = runInvite
		},
	})
}

func runInvite(cmd *cobra.Command, given []string) error {
	lasts, _ := cmd.Flags().GetDuration("for")
	return atDesk(cmd, func(d *desk) error {
		if err := checkInvitation(lasts); err != nil {
			return err
		}
		invitation, err := d.invite(d.ctx, given[0], lasts)
		if err != nil {
			return err
		}
		return d.print(invitation, func() {
			d.say("%s can register one passkey until %s UTC, with this invitation:\n\n  %s\n", plain(given[0]), when(&invitation.ExpiresAt, ""), plainText(invitation.Code))
			for _, link := range invitation.Links {
				d.say("  %s", plainText(link))
			}
			d.say("\nOn the page: Use an invitation. It works once.")
		})
	})
}
