package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/janus"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
	"github.com/stepgate/stepgate/internal/transfer"
)

const fromJanus = `
With --from janus it reads no file but the DynamoDB table of a Janus
(github.com/guardian/janus-app), and writes what it can use of it into the
store. Stop Janus first. A passkey works at the RP ID that it was made for and
nowhere else: rp_id has to be the host of Janus's HOST, which --janus-host
checks.

Janus's users are the part of an e-mail address before the @. Where the first
factor hands over more, --user-suffix adds the rest. Where all sites have
fold_user, names are folded as they do.

Each row that can't be taken is named with the reason; the others are taken, and
the exit code is 1. Credentials for the table are found as the AWS SDK finds
them; they need dynamodb:Scan on it and nothing else. The table is not changed.`

const importExamples = `  stepgate import --config new.caddyfile --adapter caddyfile --dry-run export.jsonl
  stepgate import --config /etc/stepgate/Caddyfile --from janus --janus-host janus.example.com --user-suffix @example.com --dry-run
  stepgate import --config /etc/stepgate/Caddyfile --from janus --table Passkeys --region eu-west-1`

// janusOnly are the flags that have no meaning for a file.
var janusOnly = []string{"janus-host", "table", "region", "endpoint", "user-suffix"}

func janusFlags(cmd *cobra.Command) {
	cmd.Flags().String("from", "export", "What to read: export, or janus")
	cmd.Flags().String("janus-host", "", "With --from janus: the host of Janus's HOST; refused unless it is the rp_id")
	cmd.Flags().String("table", "", "With --from janus: Janus's table of passkeys ("+dynamostore.DefaultJanusTable+")")
	cmd.Flags().String("region", "", "With --from janus: the table's AWS region (default: as the AWS SDK finds it)")
	cmd.Flags().String("endpoint", "", "With --from janus: the URL of another service, such as DynamoDB Local")
	cmd.Flags().String("user-suffix", "", "With --from janus: what to put behind Janus's user names, for example @example.com")
}

func importArguments(cmd *cobra.Command, arguments []string) error {
	from, _ := cmd.Flags().GetString("from")
	switch from {
	case "janus":
		if len(arguments) > 0 {
			return errors.New("import --from janus reads a table and takes no file")
		}
		return nil
	case "export":
		for _, name := range janusOnly {
			if cmd.Flags().Changed(name) {
				return fmt.Errorf("--%s is for --from janus", name)
			}
		}
		return cobra.ExactArgs(1)(cmd, arguments)
	}
	return fmt.Errorf("--from %q is unknown: it is export or janus", from)
}

func runImportJanus(cmd *cobra.Command) error {
	ctx, stop := interruptible()
	defer stop()
	dry, _ := cmd.Flags().GetBool("dry-run")
	rpID, configured, cleanup, err := configuredStore(cmd)
	if err != nil {
		return err
	}
	defer cleanup()
	if err := checkJanusHost(cmd, rpID); err != nil {
		return err
	}
	batch, err := readJanus(ctx, cmd)
	if err != nil {
		return fmt.Errorf("%w; nothing was written", reason(ctx, err))
	}
	for _, row := range batch.Refused {
		fmt.Fprintln(os.Stderr, row)
	}
	if batch.Rows == 0 {
		return errors.New("the table has no rows: are its name, the region and the account Janus's? nothing was written")
	}
	var report transfer.Report
	if len(batch.Accounts) > 0 {
		done, loadErr := load(ctx, rpID, configured, &transfer.List{Accounts: batch.Accounts}, dry)
		if done == nil {
			return fmt.Errorf("%w; nothing was written", loadErr)
		}
		report, err = *done, loadErr
	}
	fmt.Fprintf(os.Stderr, "%s %s%s\n", verb(dry), report, leftOut(batch))
	if len(batch.Unknown) > 0 {
		fmt.Fprintf(os.Stderr, "not looked at, because Janus does not write them: the attributes %.200q\n", batch.Unknown)
	}
	if err := outcome(ctx, report, err, dry); err != nil {
		return err
	}
	switch {
	case len(batch.Refused) > 0 && dry:
		return errors.New("not every row would be imported: the list above says which, and why")
	case len(batch.Refused) > 0:
		return errors.New("not every row was imported: the list above says which, and why")
	}
	return nil
}

// checkJanusHost refuses to import passkeys that no browser would offer. The table does not say what they were made for.
func checkJanusHost(cmd *cobra.Command, rpID string) error {
	host, _ := cmd.Flags().GetString("janus-host")
	switch {
	case host == "" && cmd.Flags().Changed("janus-host"):
		return errors.New("--janus-host is empty")
	case host == "":
		fmt.Fprintf(os.Stderr, "the passkeys work only if Janus is at the host %s, which is the rp_id; --janus-host checks it\n", rpID)
	case !strings.EqualFold(host, rpID):
		return fmt.Errorf("passkeys made at %q are useless at the rp_id %q: browsers offer them to the host they were made for only", host, rpID)
	}
	return nil
}

// readJanus reads the table that the flags name.
func readJanus(ctx context.Context, cmd *cobra.Command) (*janus.Batch, error) {
	flag := func(name string) string {
		value, _ := cmd.Flags().GetString(name)
		return value
	}
	opts := janus.Options{CheckKey: ceremony.CheckKey, Suffix: flag("user-suffix")}
	s, err := readSettings(cmd)
	if err != nil {
		return nil, err
	}
	if s.foldsUsers() {
		opts.Fold = gate.FoldUser
	}
	table, err := dynamostore.OpenJanus(ctx, flag("region"), flag("endpoint"), flag("table"))
	if err != nil {
		return nil, err
	}
	defer table.Close()
	meter := newMeter("read")
	opts.Progress = meter.Show
	batch, err := janus.Read(ctx, table, opts)
	meter.End()
	return batch, err
}

// foldsUsers tells whether all sites fold names.
func (s *settings) foldsUsers() bool {
	d, err := s.demanded() // an error: nobody is asked for anything
	return err == nil && d.fold
}

// leftOut counts what a report of users does not.
func leftOut(batch *janus.Batch) (text string) {
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{len(batch.Refused), "; 1 row left out", "; %d rows left out"},
		{batch.Renamed, "; 1 passkey got another name", "; %d passkeys got another name"},
	} {
		switch {
		case part.n == 1:
			text += part.one
		case part.n > 1:
			text += fmt.Sprintf(part.many, part.n)
		}
	}
	return text
}
