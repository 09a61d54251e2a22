package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "explain",
		Usage: "<method> <url> [--as <user>] [--config <path>] [--adapter <name>] [--json]",
		Short: "Tells what a request would get, and by which rule",
		Long: `
Tells what becomes of a request under a configuration: which site it goes to,
which stepgate block and rule decide, what they demand, and what a browser and
an API client get. The rules are read by the gate's own code.

No gateway needs to run. No port, store or log file is opened, and the grant
keys need not be there.

What can't be known without the request itself (the client's address, its
headers, which files there are) is not guessed: each way is listed.

With --as it tells what this user gets. Without, it tells what people get who
are signed in, and what those get whom the first factor does not name.

A path alone, such as /admin/, is of the only origin of the configuration.

The exit code is 0 when the request is explained, and 1 otherwise.`,
		CobraFunc: func(cmd *cobra.Command) {
			configFlags(cmd)
			cmd.Flags().String("as", "", "The user, as the first factor names them")
			cmd.Flags().Bool("json", false, "Print JSON, for scripts")
			cmd.Example = `  stepgate explain GET https://console.example.com/admin/
  stepgate explain DELETE https://console.example.com/api/keys/7 --as alice
  stepgate explain GET /admin/ --config Caddyfile.example --json`
			cmd.Args = cobra.ExactArgs(2)
			cmd.RunE = runExplain
		},
	})
}

func runExplain(cmd *cobra.Command, arguments []string) error {
	s, err := readSettings(cmd)
	if err != nil {
		return err
	}
	user, _ := cmd.Flags().GetString("as")
	e, err := s.explain(arguments[0], arguments[1], user, cmd.Flags().Changed("as"))
	if err != nil {
		return err
	}
	if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
		return printJSON(cmd.OutOrStdout(), e)
	}
	e.show(cmd.OutOrStdout())
	return nil
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// show prints an explanation for people.
func (e *explanation) show(out io.Writer) {
	fmt.Fprintf(out, "%s %s\n\n", e.Method, e.URL)
	site := strings.Join(e.Site.Hosts, ", ")
	if site == "" {
		site = "any host"
	}
	site += " on " + strings.Join(e.Site.Listen, ", ")
	row(out, "site", site+at(e.Site.Place))
	for _, note := range e.Notes {
		row(out, "note", note)
	}
	for i, c := range e.Cases {
		if i > 0 || len(c.Assuming) > 0 {
			fmt.Fprintln(out)
		}
		for j, a := range c.Assuming {
			word := "if"
			if !a.Holds {
				word = "unless"
			}
			if j > 0 {
				word = "and " + word
			}
			row(out, word, a.That)
		}
		c.show(out, e.User)
	}
	if e.More {
		fmt.Fprintf(out, "\nThere are more cases than these %d.\n", len(e.Cases))
	}
}

// row prints one aligned line.
func row(out io.Writer, name, text string) { fmt.Fprintf(out, "%-10s %s\n", name, text) }

// at is a place in parentheses.
func at(place string) string {
	if place == "" {
		return ""
	}
	return " (" + place + ")"
}

var kinds = map[string]string{"factor": ", the first factor", "changes": ", changes the request", "answers": "", "": ""}

func (c *explained) show(out io.Writer, user string) {
	for _, step := range c.Before {
		if step.Kind == "answers" {
			continue // the table says so
		}
		row(out, "before", step.Handler+at(step.Place)+kinds[step.Kind])
	}
	switch {
	case c.Gate != nil:
		row(out, "gate", "stepgate"+at(orDefault(c.Gate.Place, c.Gate.Path)))
		row(out, "user", "from "+c.Gate.UserSource)
	case c.SignedIn.Browser.Result == resultUngated:
		row(out, "gate", "none: no stepgate block sees this request")
	}
	if c.Path != "" {
		row(out, "path", c.Path+" goes on, after a rewrite; the path as it was sent counts too")
	}
	if c.Own {
		row(out, "own", "This is one of the gateway's own addresses: it never reaches the site's handlers.")
	}
	for _, rule := range c.Rules {
		text := rule.Text
		if rule.Number > 0 {
			text = fmt.Sprintf("%d: %s", rule.Number, text)
		}
		row(out, "rule", text+at(rule.Place))
	}
	switch {
	case c.Demand != nil:
		row(out, "demand", fmt.Sprintf("%s, used in the last %s", c.Demand.Level, spoken(c.Demand.MaxAge)))
		switch {
		case c.Demand.From != "":
			row(out, "mode", "only people who have a passkey are asked, until "+c.Demand.From)
		case c.Demand.Mode == "if_enrolled":
			row(out, "mode", "if_enrolled: only people who have a passkey are asked")
		case c.Demand.Mode != "":
			row(out, "mode", c.Demand.Mode+": nobody is stopped")
		}
	case len(c.Rules) > 0:
		row(out, "demand", "none: open")
	}
	if c.Why != "" {
		row(out, "why", c.Why)
	}
	if e := c.SignedIn.API; e.Hint != "" && e.Result == resultRefused {
		row(out, "write", e.Hint)
	}
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "\tA BROWSER\tAN API CLIENT")
	if c.Nobody != nil && c.Gate != nil {
		fmt.Fprintf(table, "not signed in\t%s\t%s\n", c.Nobody.Browser.text(), c.Nobody.API.text())
	}
	if c.Unnamed != nil && c.Gate != nil {
		fmt.Fprintf(table, "signed in, not named\t%s\t%s\n", c.Unnamed.Browser.text(), c.Unnamed.API.text())
	}
	who := "signed in"
	switch {
	case user != "":
		who = user
		if c.Gate != nil && c.Gate.User != "" && c.Gate.User != user {
			who += " (taken as " + c.Gate.User + ")"
		}
	case c.Gate == nil:
		who = "anybody"
	}
	fmt.Fprintf(table, "%s\t%s\t%s\n", who, c.SignedIn.Browser.text(), c.SignedIn.API.text())
	if r := c.SignedIn.API.Result; r == resultStepUp || r == resultChallenge {
		passes := ending{Result: resultPasses, By: c.Behind}.text()
		fmt.Fprintf(table, "after a step-up\t%s\t%s\n", passes, passes)
	}
	_ = table.Flush()
}

// text says an ending in a few words.
func (e ending) text() string {
	var text string
	switch e.Result {
	case resultPasses:
		text = "passes"
		if e.By != "" {
			text += " to " + e.By
		}
		if e.Would != "" {
			text += " (enforced: " + e.Would + ")"
		}
		return text
	case resultChallenge:
		return fmt.Sprintf("%d to %s", e.Status, e.Location)
	case resultOwn:
		if e.Status == 0 {
			return "the gateway's own API"
		}
		text = fmt.Sprintf("%d from the gateway itself", e.Status)
	case resultFactor, resultUngated:
		text = "answered by " + e.By
		if e.Status != 0 {
			text = fmt.Sprintf("%d, %s", e.Status, text)
		}
		return text
	case resultRedirect:
		return fmt.Sprintf("%d to %s, by %s", e.Status, e.Location, e.By)
	default:
		text = fmt.Sprintf("%d %s", e.Status, e.Code)
	}
	if e.Reason != "" {
		text += ", " + e.Reason
	}
	return text
}

// spoken writes seconds as a configuration would.
func spoken(seconds int64) string {
	text := (time.Duration(seconds) * time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
