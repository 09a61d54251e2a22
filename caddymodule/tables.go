package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tables",
		Usage: "create|check",
		Short: "Creates and checks the DynamoDB tables",
		Long: `
Creates and checks the two tables of the DynamoDB store.

Which tables, and where, is what the configuration says (--config, or the
Caddyfile in the working directory). Without a configuration it is what the flags
say: --region, --endpoint, --passkeys-table, --challenges-table; what they leave
out is the store's own default. Credentials are found as the AWS SDK finds them,
and need not be those of a gateway.`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(tablesCreate(), tablesCheck())
		},
	})
}

func tablesCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create [--print <format>]",
		Short: "Creates both tables, or prints what creates them",
		Long: `
Creates both tables: paid on demand, the challenges' with time to live, the
passkeys' with point-in-time recovery and deletion protection where the server
has them. It waits until they are ready.

It is safe to repeat: tables that are there are kept, with all that is in them,
and what is off is switched on. Nothing is deleted or switched off. When a table
is there that can't be made right, nothing is changed.

With --print it calls nobody and needs no credentials. It prints, for those who
create tables their own way:

  cloudformation   a template: both tables, and the policy of the gateways
  terraform        the same for Terraform
  iam              the policy of the gateways alone: what they call, no more
  iam-admin        the policy of people who run "stepgate tables", "stepgate
                   export", "stepgate import" and the commands that administer
                   users; gateways do not need it

Where --region or --account is not given, a policy is for the tables of these
names in any region of the account that it is used in.`,
		Example: `  stepgate tables create --config /etc/stepgate/Caddyfile
  stepgate tables create --region eu-west-1
  stepgate tables create --print cloudformation > stepgate-tables.yaml
  stepgate tables create --print iam --region eu-west-1 --account 123456789012`,
		Args: cobra.NoArgs,
		RunE: runTablesCreate,
	}
	tablesFlags(cmd)
	cmd.Flags().String("print", "", "Print what creates them instead: "+strings.Join(dynamostore.Formats(), ", "))
	cmd.Flags().String("account", "", "The AWS account, for --print iam (12 digits; default: any)")
	return cmd
}

func tablesCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tells whether both tables are as they must be",
		Long: `
Asks DynamoDB what both tables are, changes nothing, and prints it. What these
credentials may not ask is said, and is no failure.

The exit code is 0 when a gateway can use the tables and nothing needs mending,
and 1 otherwise: then it also prints what to do.`,
		Example: `  stepgate tables check --config /etc/stepgate/Caddyfile
  stepgate tables check --region eu-west-1 --passkeys-table OpsPasskeys --challenges-table OpsChallenges`,
		Args: cobra.NoArgs,
		RunE: runTablesCheck,
	}
	tablesFlags(cmd)
	return cmd
}

func tablesFlags(cmd *cobra.Command) {
	configFlags(cmd)
	cmd.Flags().String("region", "", "Without a configuration: the AWS region (default: as the AWS SDK finds it)")
	cmd.Flags().String("endpoint", "", "Without a configuration: the URL of another service, such as DynamoDB Local")
	cmd.Flags().String("passkeys-table", "", "Without a configuration: the table of passkeys ("+dynamostore.DefaultPasskeysTable+")")
	cmd.Flags().String("challenges-table", "", "Without a configuration: the table of challenges ("+dynamostore.DefaultChallengesTable+")")
}

// tablesOptions says which tables a command is about.
func tablesOptions(cmd *cobra.Command) (dynamostore.Options, error) {
	var opts dynamostore.Options
	var given []string
	for _, flag := range []struct {
		name string
		to   *string
	}{
		{"region", &opts.Region}, {"endpoint", &opts.Endpoint}, {"passkeys-table", &opts.PasskeysTable}, {"challenges-table", &opts.ChallengesTable},
	} {
		if !cmd.Flags().Changed(flag.name) {
			continue
		}
		given = append(given, "--"+flag.name)
		*flag.to, _ = cmd.Flags().GetString(flag.name)
		if *flag.to == "" {
			return opts, fmt.Errorf("--%s is empty", flag.name) // perhaps of a variable that is not set: the default would surprise
		}
	}
	configured := cmd.Flags().Changed("config") || cmd.Flags().Changed("adapter")
	switch {
	case len(given) > 0 && configured:
		return opts, fmt.Errorf("the configuration says which tables: leave out either it or %s", strings.Join(given, " and "))
	case len(given) > 0:
		return opts, opts.Validate()
	case !configured:
		if _, err := os.Stat("Caddyfile"); err != nil {
			return opts, nil
		}
	}
	_, store, cleanup, err := configuredStore(cmd)
	if err != nil {
		return opts, err
	}
	defer cleanup()
	switch store := store.(type) {
	case *DynamoDBStore:
		return store.options, nil
	case *FileStore:
		return opts, errors.New("this configuration keeps passkeys in a file (store file), which needs no tables; " +
			"for the tables of another, name it with --config, or say which with --region")
	default:
		return opts, fmt.Errorf("%T needs no DynamoDB tables", store)
	}
}

func runTablesCreate(cmd *cobra.Command, _ []string) error {
	opts, err := tablesOptions(cmd)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	account, _ := cmd.Flags().GetString("account")
	if cmd.Flags().Changed("print") {
		format, _ := cmd.Flags().GetString("print")
		tables := dynamostore.Tables{Passkeys: opts.PasskeysTable, Challenges: opts.ChallengesTable}
		text, err := dynamostore.Print(format, dynamostore.Target{Tables: tables, Region: opts.Region, Account: account})
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, text)
		return err
	}
	if account != "" {
		return errors.New("--account is for --print: which account the tables are created in, the credentials say")
	}
	return withTables(opts, func(ctx context.Context, db *dynamostore.DB) error {
		err := db.Create(ctx, dynamostore.CreateOptions{Progress: func(line string) { fmt.Fprintln(out, line) }})
		if err == nil {
			fmt.Fprintln(out, "both tables are ready")
		}
		return err
	})
}

func runTablesCheck(cmd *cobra.Command, _ []string) error {
	opts, err := tablesOptions(cmd)
	if err != nil {
		return err
	}
	return withTables(opts, func(ctx context.Context, db *dynamostore.DB) error {
		report, err := db.Inspect(ctx)
		if err != nil && !errors.Is(err, dynamostore.ErrTables) {
			return err
		}
		showTables(cmd.OutOrStdout(), report)
		switch {
		case err != nil:
			return err
		case len(report.Warnings) > 0:
			return errors.New("the tables are not as they should be, or that can't be told: see the warnings")
		}
		fmt.Fprintln(cmd.OutOrStdout(), "a gateway can use both tables")
		return nil
	})
}

// withTables opens the tables for one command, which Ctrl-C ends.
func withTables(opts dynamostore.Options, do func(context.Context, *dynamostore.DB) error) error {
	ctx, stop := interruptible()
	defer stop()
	db, err := dynamostore.Open(ctx, opts)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, db), db.Close())
}

// showTables prints what was found out, side by side.
func showTables(out io.Writer, report dynamostore.Report) {
	fmt.Fprintf(out, "in %s\n\n", report.Place)
	columns := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(name string, cell func(dynamostore.Table) string) {
		fmt.Fprint(columns, name)
		for _, t := range report.Tables {
			text := cell(t)
			if text == "" || text == string(dynamostore.Unknown) {
				text = "-"
			}
			fmt.Fprint(columns, "\t", text)
		}
		fmt.Fprintln(columns)
	}
	row("", func(t dynamostore.Table) string { return strings.ToUpper(t.Holds) })
	row("table", func(t dynamostore.Table) string { return t.Name })
	row("status", func(t dynamostore.Table) string { return t.Status })
	row("keys", func(t dynamostore.Table) string { return t.Keys })
	row("paid", func(t dynamostore.Table) string { return t.Paid })
	row("time to live", timeToLive)
	row("point-in-time recovery", func(t dynamostore.Table) string { return string(t.Recovery) })
	row("deletion protection", func(t dynamostore.Table) string { return string(t.Protection) })
	_ = columns.Flush()
	fmt.Fprintln(out)
	for _, warning := range report.Warnings {
		fmt.Fprintln(out, "warning:", warning)
	}
	for _, advice := range report.Advice {
		fmt.Fprintln(out, "advice:", advice)
	}
}

func timeToLive(t dynamostore.Table) string {
	text := string(t.TTL)
	if t.TTLChanging {
		text = "being switched " + text
	}
	if t.TTLAttribute != "" {
		text += " (" + t.TTLAttribute + ")"
	}
	return text
}
