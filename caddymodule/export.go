package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
	"github.com/stepgate/stepgate/internal/transfer"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "export",
		Usage: "[--config <path>] [--adapter <name>] [--output <file>]",
		Short: "Writes all users and passkeys of a store as JSON lines",
		Long: `
Writes every user with their passkeys, one JSON object a line, from the store
that the configuration names: to the file given with --output, which is made
with mode 600, or to standard output. "stepgate import" reads it into another
store.

Stop the gateways that use the store first: what they change meanwhile is lost.

An export to a file that was broken off, by Ctrl-C or a store that went away, is
gone on with by running the same command again. A finished file is never
overwritten.

The export holds no secret to sign in with, but it tells who has which passkeys,
and whoever can change it can put a passkey of their own into anybody's account:
keep it as private as the store, and delete it afterwards. It does not hold
challenges under way, nor what keeps grants alive: after the import everybody
steps up once more.`,
		CobraFunc: func(cmd *cobra.Command) {
			configFlags(cmd)
			cmd.Flags().StringP("output", "o", "", "The file to write, or to go on with")
			cmd.Args = cobra.NoArgs
			cmd.RunE = runExport
		},
	})
}

// Errors are returned as they are, for a person to read: Caddy's wrapper would make each one line of a JSON log.

func runExport(cmd *cobra.Command, _ []string) error {
	ctx, stop := interruptible()
	defer stop()
	rpID, configured, cleanup, err := configuredStore(cmd)
	if err != nil {
		return err
	}
	defer cleanup()
	if file, ok := configured.(interface{ missing() error }); ok {
		if err := file.missing(); err != nil {
			return err
		}
	}
	store, release, err := openToMove(rpID, configured)
	if err != nil {
		return err
	}
	defer release()
	meter := newMeter("exported")
	opts := transfer.Options{Progress: meter.Show}
	var counts transfer.Counts
	path, _ := cmd.Flags().GetString("output")
	if path == "" {
		counts, err = transfer.Export(ctx, store, rpID, os.Stdout, opts)
	} else {
		counts, err = transfer.ExportFile(ctx, store, rpID, path, opts)
	}
	meter.End()
	switch {
	case err == nil:
		fmt.Fprintf(os.Stderr, "exported %s\n", counts)
		return nil
	case path == "" && (ctx.Err() != nil || errors.Is(err, passkey.StoreUnavailable)):
		return fmt.Errorf("the export is not complete, after %s: %w; name a file with --output, and an export that breaks off can be gone on with", counts, reason(ctx, err))
	}
	return goOn(ctx, counts, err)
}

// missing is nil when there is a file, which Open would otherwise make: who means to read one has named another by mistake.
func (s *FileStore) missing() error {
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s: start where the gateway is started, or correct the store's path", s.path)
	}
	return nil
}

// openToMove opens a store whose records can be moved. release is called once.
func openToMove(rpID string, configured Store) (store transfer.Store, release func(), err error) {
	opened, err := configured.Open(rpID, caddy.Log())
	if errors.Is(err, boltstore.ErrInUse) {
		return nil, nil, fmt.Errorf("stop the gateway first: passkeys can't be moved while it changes them: %w", err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening store: %w", err)
	}
	release = func() {
		if err := opened.Release(); err != nil {
			fmt.Fprintln(os.Stderr, "closing store:", err)
		}
	}
	store, ok := opened.Store.(transfer.Store)
	if !ok {
		release()
		return nil, nil, fmt.Errorf("%T can't export and import", configured)
	}
	return store, release, nil
}

// interruptible returns a context that ends with Ctrl-C. The second one ends the process, whatever it waits for.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// newMeter shows progress on standard error: standard output may be the export.
func newMeter(verb string) *transfer.Meter {
	info, err := os.Stderr.Stat()
	return &transfer.Meter{Out: os.Stderr, Verb: verb, Live: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func reason(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// goOn says how, where running the same command again is what helps.
func goOn(ctx context.Context, done fmt.Stringer, err error) error {
	if ctx.Err() == nil && !errors.Is(err, passkey.StoreUnavailable) {
		return err
	}
	return fmt.Errorf("%w; done so far: %s; run the same command again to go on", reason(ctx, err), done)
}
