package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/grant"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "keygen",
		Short: "Makes a key for grant_keys",
		Long: `
Prints one new random key for the option grant_keys, on standard output.

Keep it out of the configuration: put it where a placeholder finds it, an
environment variable ({env.STEPGATE_GRANT_KEYS}) or a file with mode 600
({file./run/secrets/stepgate}), the same on every gateway.

To replace a key without asking everybody to step up again: add the new key
behind the old one everywhere, then put it first everywhere, then remove the old
one. The first key seals; all of them open.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) {
				fmt.Println(grant.NewKey())
				return caddy.ExitCodeSuccess, nil
			})
		},
	})
}
