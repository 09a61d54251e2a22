package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/transfer"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "import",
		Usage: "[--config <path>] [--adapter <name>] [--dry-run] <file>|- | --from janus [--janus-host <host>] [--table <name>] [--region <region>] [--user-suffix <text>]",
		Short: "Reads users and passkeys, which export wrote or Janus has, into a store",
		Long: `
Reads an export from a file, or with "-" from standard input, into the store
that the configuration names, which must be of the same rp_id.

It overwrites nobody. A user who is there already because the same export was
imported before is left as they are now; so run the same command again after it
was broken off. A user of whom the store has another record, or whose passkey
somebody else holds, is not imported; the others are, the command says whom it
left out, and fails.

Everybody's grants end: each user is imported in a new epoch, so that no grant
made before the move counts after it, even with the same grant_keys.

With --dry-run it reads the whole export and the store, says what would happen,
and writes nothing.
` + fromJanus,
		CobraFunc: func(cmd *cobra.Command) {
			configFlags(cmd)
			cmd.Flags().Bool("dry-run", false, "Check everything and write nothing")
			janusFlags(cmd)
			cmd.Example = importExamples
			cmd.Args = importArguments
			cmd.RunE = runImport
		},
	})
}

func runImport(cmd *cobra.Command, arguments []string) error {
	if from, _ := cmd.Flags().GetString("from"); from == "janus" {
		return runImportJanus(cmd)
	}
	if config, _ := cmd.Flags().GetString("config"); config == "-" && arguments[0] == "-" {
		return errors.New("the configuration and the export can't both come from standard input")
	}
	ctx, stop := interruptible()
	defer stop()
	dry, _ := cmd.Flags().GetBool("dry-run")
	rpID, configured, cleanup, err := configuredStore(cmd)
	if err != nil {
		return err
	}
	defer cleanup()
	in := io.Reader(os.Stdin)
	if arguments[0] != "-" {
		file, err := os.Open(arguments[0])
		if err != nil {
			return fmt.Errorf("opening export: %w", err)
		}
		defer file.Close()
		in = file
	}
	export, err := transfer.NewReader(in, rpID) // before the store, which opening may make
	if err != nil {
		return fmt.Errorf("reading %s: %w", arguments[0], err)
	}
	report, err := load(ctx, rpID, configured, export, dry)
	if report == nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s %s\n", verb(dry), report)
	return outcome(ctx, *report, err, dry)
}

func verb(dry bool) string {
	if dry {
		return "would import"
	}
	return "imported"
}

// load imports users or rehearses that, and says who was left out. Without a report nothing was done.
func load(ctx context.Context, rpID string, configured Store, from transfer.Source, dry bool) (*transfer.Report, error) {
	var store transfer.Store // none: one that holds nothing
	file, makesItself := configured.(interface{ missing() error })
	if !dry || !makesItself || file.missing() == nil {
		opened, release, err := openToMove(rpID, configured)
		if err != nil {
			return nil, err
		}
		defer release()
		store = opened
	}
	run := transfer.Import
	if dry {
		run = transfer.Rehearse
	}
	meter := newMeter(verb(dry))
	report, err := run(ctx, store, from, transfer.Options{Progress: meter.Show})
	meter.End()
	list(report)
	return &report, err
}

// list says who was left out, and why.
func list(report transfer.Report) {
	for _, r := range report.List {
		fmt.Fprintln(os.Stderr, r)
	}
	if more := report.Refused - len(report.List); more > 0 {
		fmt.Fprintf(os.Stderr, "and %d more\n", more)
	}
}

// outcome makes the command fail unless everybody in the export is in the store now, or would be.
func outcome(ctx context.Context, report transfer.Report, err error, dry bool) error {
	var line *transfer.LineError
	switch {
	case errors.Is(err, transfer.ErrCutShort):
		return fmt.Errorf("%w; the whole lines were read, and further users may be missing: go on with the export, then import again", err)
	case errors.As(err, &line) && !dry:
		return fmt.Errorf("%w; what is before it was imported, it and what follows was not", err)
	case err != nil:
		return goOn(ctx, report, err)
	case report.Refused > 0 && dry:
		return errors.New("not everybody would be imported")
	case report.Refused > 0:
		return errors.New("not everybody was imported: the list above says whom the store has from elsewhere")
	}
	return nil
}
