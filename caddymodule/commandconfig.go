package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// configFlags adds the flags by which a command finds the gateway's configuration, as `stepgate run` has them.
func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "The gateway's configuration (default: the Caddyfile in the working directory)")
	cmd.Flags().StringP("adapter", "a", "", "The configuration's format, where its name does not tell (caddyfile)")
}

// errNoConfiguration says that no flag names a configuration and none lies where one is looked for.
var errNoConfiguration = errors.New("no configuration: name the gateway's with --config, or go where its Caddyfile is")

// configuration is what a command was pointed at.
type configuration struct {
	file string
	text []byte // Caddy's JSON
	app  *App   // not provisioned
}

// readConfiguration loads the configuration that a command's flags name.
func readConfiguration(cmd *cobra.Command) (*configuration, error) {
	file, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	text, file, _, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, errNoConfiguration
	}
	app, err := configuredApp(text)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return &configuration{file, text, app}, nil
}

// store returns the configured store, provisioned and not opened. Nothing else is: no listeners, no other apps, no grant
// keys. cleanup is called once the store is not used any more.
func (c *configuration) store() (store Store, cleanup func(), err error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	module, err := ctx.LoadModule(c.app, "StoreRaw")
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("reading %s: stepgate: loading store: %w", c.file, err)
	}
	store, ok := module.(Store)
	if !ok {
		cancel()
		return nil, nil, fmt.Errorf("reading %s: stepgate: %T is no store", c.file, module)
	}
	return store, cancel, nil
}

// configuredStore returns the relying party and the store, as [configuration.store] does, of the configuration that a
// command's flags name.
func configuredStore(cmd *cobra.Command) (rpID string, store Store, cleanup func(), err error) {
	c, err := readConfiguration(cmd)
	if err != nil {
		return "", nil, nil, err
	}
	store, cleanup, err = c.store()
	return c.app.RPID, store, cleanup, err
}

// configuredApp finds the app in a configuration and checks whose it is. It is not provisioned.
func configuredApp(text []byte) (*App, error) {
	var config struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	raw, ok := config.Apps["stepgate"]
	if !ok {
		return nil, errors.New("it does not configure stepgate: there is no global option `stepgate`, no app of that name")
	}
	app := new(App)
	if err := caddy.StrictUnmarshalJSON(raw, app); err != nil {
		return nil, fmt.Errorf("stepgate: %w", err)
	}
	if app.RPID == "" {
		return nil, fmt.Errorf("stepgate: %w", errNoRPID)
	}
	if err := checkDomain(app.RPID); err != nil {
		return nil, fmt.Errorf("stepgate: rp_id: %w", err)
	}
	if app.StoreRaw == nil {
		app.StoreRaw = json.RawMessage(`{"module":"file"}`)
	}
	return app, nil
}
