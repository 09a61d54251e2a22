package e2etest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// docs/lost-passkey.md says which command to run and what it prints. They are run here, in the order of the page, for somebody
// who has two passkeys. "…" stands for anything.
func TestHelpDeskCommands(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	alice := gatewaytest.NewClient(t, g, "alice@example.com")
	alice.Key = authtest.New(authtest.Config{Counts: true})
	gatewaytest.Must(t, alice.Register("Laptop"))
	answer, err := alice.StepUp("/keys")
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	authorization, err := alice.Authorize("add", "")
	gatewaytest.Must(t, err)
	body, err := alice.BeginRegistration(authtest.New(authtest.Config{}), "Old phone", authorization)
	gatewaytest.Must(t, err)
	_, err = alice.Step("POST", gatewaytest.Account, body, 201)
	gatewaytest.Must(t, err)
	var phone string
	for _, p := range listUsers(g)["alice@example.com"].Passkeys {
		if p.Name == "Old phone" {
			phone = p.ID
		}
	}
	sessions := consoles(t, "docs/lost-passkey.md")
	if len(sessions) != 5 {
		t.Fatalf("%d sessions", len(sessions))
	}
	for _, shown := range sessions {
		arguments := strings.Fields(strings.ReplaceAll(shown.command, " ID", " "+phone))
		out, _ := administer(g, 0, arguments[1:]...)
		if arguments[1] == "invite" {
			for _, code := range regexp.MustCompile(`[A-Z2-7]{4}(-[A-Z2-7]{4}){4,}`).FindAllString(out, -1) {
				g.Log.Secret("invitation", code)
			}
		}
		pattern := strings.ReplaceAll(regexp.QuoteMeta(spaced(shown.prints)), "…", ".+")
		if !regexp.MustCompile("^" + pattern + "$").MatchString(spaced(out)) {
			t.Errorf("%s prints\n%s\nand not\n%s", shown.command, out, shown.prints)
		}
	}
}

// spaced is a text in which every run of white space is one blank: the width of a table's columns is nobody's business.
func spaced(text string) string { return strings.Join(strings.Fields(text), " ") }

// shown is a command of a document, and what it prints.
type shown struct{ command, prints string }

// consoles returns the commands of a document, with what they print.
func consoles(t *testing.T, document string) (list []shown) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(browsertest.RepositoryRoot(t), document))
	gatewaytest.Must(t, err)
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		command, prints, _ := strings.Cut(strings.TrimSpace(block[1]), "\n")
		list = append(list, shown{strings.TrimPrefix(command, "$ "), prints})
	}
	return list
}
