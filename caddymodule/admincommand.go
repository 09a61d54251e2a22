package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// adminFlags adds the flags by which a command finds the users it is about.
func adminFlags(cmd *cobra.Command) {
	configFlags(cmd)
	cmd.Flags().String("address", "", "Ask the gateway whose admin API is at this address (default with store file: the configuration's)")
	cmd.Flags().Bool("json", false, "Print JSON, for scripts")
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error {
		return fmt.Errorf("%w; a user or id that begins with - goes behind --, as in: stepgate passkeys remove -- alice -3xN…", err)
	})
}

// whereHelp is what every command's help says of where users are.
const whereHelp = `
Where the users are, the configuration says (--config, or the Caddyfile in the
working directory). With "store dynamodb" the command works on the tables, with
the AWS credentials it finds. With "store file" it asks the gateway that runs on
the file, through Caddy's admin API, at the address that the configuration has
or --address says. With --address it asks that gateway, whatever its store.`

const exitHelp = `
The exit code is 0 when it is done, and 1 otherwise.`

// arguments says what a command takes, and how to give what looks like a flag.
func arguments(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		if len(given) != len(names) {
			return fmt.Errorf("give %s, not %s; one that begins with - goes behind --", strings.Join(names, " and "), count(len(given), "argument"))
		}
		for i, text := range given {
			if text == "" {
				return fmt.Errorf("%s is empty", names[i])
			}
		}
		return nil
	}
}

// desk is where a command does its work.
type desk struct {
	administration
	ctx   context.Context
	cmd   *cobra.Command
	later string // what to say after a change: who honours it when
	close func()
}

// atDesk does the work of a command, which Ctrl-C ends. Errors are put into words.
func atDesk(cmd *cobra.Command, do func(*desk) error) error {
	ctx, stop := interruptible()
	defer stop()
	d, err := openDesk(ctx, cmd)
	if err != nil {
		return err
	}
	defer d.close()
	if err = do(d); err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(err, errMaybe) {
		return errors.New("interrupted")
	}
	return worded(err)
}

// worded is an error as people read it.
func worded(err error) error {
	refusal := refusalIn(err)
	meaning, ok := adminMessages[refusal]
	if from := new(gatewayError); !ok || errors.As(err, &from) {
		return err
	}
	if cut := new(cutOffError); errors.As(err, &cut) {
		return fmt.Errorf("%w: %w", cut, cut.cause)
	}
	if err.Error() == string(refusal) {
		return errors.New(meaning)
	}
	return fmt.Errorf("%s (%w)", meaning, err)
}

func openDesk(ctx context.Context, cmd *cobra.Command) (*desk, error) {
	if _, err := quieten(); err != nil {
		return nil, err
	}
	address, _ := cmd.Flags().GetString("address")
	c, err := readConfiguration(cmd)
	if errors.Is(err, errNoConfiguration) && address != "" {
		return gatewayDesk(ctx, cmd, address, "")
	}
	if err != nil {
		return nil, err
	}
	configured, cleanup, err := c.store()
	if err != nil {
		return nil, err
	}
	later := ""
	if configured.Shared() {
		later = fmt.Sprintf("Other gateways on the same store honour this within %s (revocation_lag).", c.lag())
	}
	if address == "" && configured.Shared() {
		d, err := storeDesk(ctx, cmd, c.app, configured, cleanup)
		if err == nil {
			d.later = fmt.Sprintf("Gateways honour this within %s (revocation_lag).", c.lag())
		}
		return d, err
	}
	cleanup()
	if address == "" {
		if address, err = c.adminAddress(); err != nil {
			return nil, err
		}
	}
	d, err := gatewayDesk(ctx, cmd, address, c.app.RPID)
	if err == nil {
		d.later = later
	}
	return d, err
}

func gatewayDesk(ctx context.Context, cmd *cobra.Command, address, rpID string) (*desk, error) {
	client, err := newAdminClient(address, rpID)
	if err != nil {
		return nil, err
	}
	return &desk{administration: client, ctx: ctx, cmd: cmd, close: client.http.CloseIdleConnections}, nil
}

// storeDesk opens the store itself. What is changed is audited on standard error: no gateway sees it.
func storeDesk(ctx context.Context, cmd *cobra.Command, app *App, configured Store, cleanup func()) (*desk, error) {
	rpID := app.RPID
	opened, err := configured.Open(rpID, caddy.Log())
	if err != nil {
		cleanup()
		return nil, fmt.Errorf("opening store: %w", err)
	}
	release := func() {
		if err := opened.Release(); err != nil {
			fmt.Fprintln(os.Stderr, "closing store:", err)
		}
		cleanup()
	}
	// No ceremony takes place here: the origin is what a service can't be without.
	service, err := ceremony.New(ceremony.Config{RPID: rpID, Origins: []string{"https://" + rpID}, Store: opened.Store})
	if err != nil {
		release()
		return nil, err
	}
	lines := zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stderr), zap.InfoLevel) // as Caddy writes them
	log := zap.New(lines).Named(string(new(Handler).CaddyModule().ID)).Named("audit")
	return &desk{
		administration: &administrator{service: service, store: opened.Store, reach: passkey.Passkey.Reach, forget: func(string) {}, audit: audit.Log{Logger: log, Require: app.Audit == "require"}, pages: accountPages(app.allOrigins())},
		ctx:            ctx, cmd: cmd, close: release,
	}, nil
}

func (c *configuration) lag() time.Duration {
	if c.app.RevocationLag == nil {
		return defaultLag
	}
	return time.Duration(*c.app.RevocationLag)
}

// adminAddress returns where the gateway of this configuration has its admin API.
func (c *configuration) adminAddress() (string, error) {
	var config struct {
		Admin struct {
			Disabled bool   `json:"disabled"`
			Listen   string `json:"listen"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(c.text, &config); err != nil {
		return "", fmt.Errorf("reading %s: admin: %w", c.file, err)
	}
	switch {
	case config.Admin.Disabled:
		return "", fmt.Errorf("the admin API is off in %s (`admin off`), and a running gateway keeps its file to itself: switch the admin API on, for example at a Unix socket", c.file)
	case config.Admin.Listen == "":
		return caddy.DefaultAdminListen, nil
	}
	return config.Admin.Listen, nil
}

// print prints for scripts or for people.
func (d *desk) print(record any, forPeople func()) error {
	if asJSON, _ := d.cmd.Flags().GetBool("json"); asJSON {
		return printJSON(d.cmd.OutOrStdout(), record)
	}
	forPeople()
	return nil
}

func (d *desk) say(format string, values ...any) {
	fmt.Fprintf(d.cmd.OutOrStdout(), format+"\n", values...)
}

// sayLater says who honours a change when.
func (d *desk) sayLater() {
	if d.later != "" {
		d.say("%s", d.later)
	}
}

// plain returns a name as it is where that can't be mistaken, and otherwise quoted, with all that a terminal would not
// simply show written out: names come from people, who may choose them for what they do to a terminal or a table.
func plain(name string) string {
	odd := func(r rune) bool { return r == '"' || r == '\\' || unicode.IsSpace(r) || !strconv.IsPrint(r) }
	if name == "" || strings.ContainsFunc(name, odd) || strings.ContainsRune(name, unicode.ReplacementChar) {
		return strconv.Quote(name)
	}
	return name
}

// plainText is a sentence without what a terminal would not simply show.
func plainText(text string) string {
	quoted := strconv.Quote(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// when is a time in a table.
func when(t *time.Time, never string) string {
	if t == nil {
		return never
	}
	return t.UTC().Format("2006-01-02 15:04")
}
