package e2etest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/browsertest"
)

// docs/lost-passkey.md says which command to run and what it prints. They are run here, in the order of the page, for somebody
// who has two passkeys. "…" stands for anything.
func TestHelpDeskCommands(t *testing.T) {
	t.Parallel()
	g := start(t, headerConsole("", ""))
	alice := newClient(t, g, "alice@example.com")
	alice.key = authtest.New(authtest.Config{Counts: true})
	must(t, alice.register("Laptop"))
	answer, err := alice.stepUp("/keys")
	must(t, err)
	must(t, answer.expect(200))
	authorization, err := alice.authorize("add", "")
	must(t, err)
	body, err := alice.beginRegistration(authtest.New(authtest.Config{}), "Old phone", authorization)
	must(t, err)
	_, err = alice.step("POST", account, body, 201)
	must(t, err)
	var phone string
	for _, p := range g.users()["alice@example.com"].Passkeys {
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
		out, _ := g.administer(0, arguments[1:]...)
		if arguments[1] == "invite" {
			for _, code := range regexp.MustCompile(`[A-Z2-7]{4}(-[A-Z2-7]{4}){4,}`).FindAllString(out, -1) {
				g.log.secret("invitation", code)
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
	must(t, err)
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		command, prints, _ := strings.Cut(strings.TrimSpace(block[1]), "\n")
		list = append(list, shown{strings.TrimPrefix(command, "$ "), prints})
	}
	return list
}
