package e2etest_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
)

// The line about a passkey that may have been copied says which one: that is what an administrator needs to know.
func TestAuditNamesTheCopiedPasskey(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	if answer, err := c.StepUp("/"); err != nil || answer.Status != 200 {
		t.Fatal(err, answer)
	}
	answer, err := c.StepUp("/", authtest.SignCount(1))
	gatewaytest.Must(t, err)
	if got := gatewaytest.ProblemIn(t, answer.Body); answer.Status != 403 || got.Code != "counter_regressed" {
		t.Errorf("a copy got %d %+v", answer.Status, got)
	}
	if e := g.Audited("clone_suspected", "counter_regressed"); e.Passkey == "" {
		t.Errorf("audited without the passkey: %+v", e)
	}
}

// Every line of the log is one JSON object that names no member twice: what reads logs takes the first, the last, or
// neither.
func TestLogLinesNameNoMemberTwice(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	c := gatewaytest.NewClient(t, g, "carol")
	c.Get("/a")
	gatewaytest.Must(t, c.Register("Key"))
	if answer, err := c.StepUp("/a"); err != nil || answer.Status != 200 {
		t.Fatal(err, answer)
	}
	c.Get("/a")
	g.Audited("ceremony_finished", "")
	g.Log.Mu.Lock()
	defer g.Log.Mu.Unlock()
	for _, line := range g.Log.Lines {
		if name := twice([]byte(line)); name != "" {
			t.Errorf("%q is there twice: %s", name, line)
		}
	}
}

// twice returns a member that the outermost object of a text names twice, or "".
func twice(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	seen, depth := map[string]bool{}, 0
	name := true
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			name = true
			continue
		case string:
			if depth == 1 && name {
				if seen[token] {
					return token
				}
				seen[token] = true
				name = false
				continue
			}
		}
		if depth == 1 {
			name = true
		}
	}
}
