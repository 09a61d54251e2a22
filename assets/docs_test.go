package assets_test

import (
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/assets"
)

// What docs/lost-passkey.md has people see stands on the pages, word for word.
func TestHelpDeskQuotesThePages(t *testing.T) {
	text, err := os.ReadFile("../docs/lost-passkey.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("stepgate.js")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	row := assets.Passkey{ID: "1", Name: "Key", Level: "verified", Kind: assets.KindSynced, CreatedAt: now}
	device, key := row, row
	device.Kind, key.Kind = assets.KindDevice, assets.KindSecurityKey
	pages := string(script)
	for _, account := range []assets.Account{
		{Passkeys: []assets.Passkey{row}, Recovery: true, CodesLeft: 3, CodesMadeAt: &now},
		{Passkeys: []assets.Passkey{row, device, key}, Recovery: true},
		{Recovery: true, CodesLeft: 3}, {Recovery: true},
	} {
		pages += bare(rendered(t, account))
	}
	for _, challenge := range []assets.Challenge{
		{Passkeys: 1, Suitable: 1, CodesLeft: 3, Level: "verified"}, {Passkeys: 1, Level: "device_bound", CodesLeft: 3},
		{Passkeys: 1, Level: "device_bound", Because: "grant_level"}, {Passkeys: 1, Level: "device_bound", Bounded: true}, {}, {CodesLeft: 3},
	} {
		pages += bare(rendered(t, challenge))
	}
	quotes := regexp.MustCompile(`“([^”]+)”`).FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n", " "), -1)
	if len(quotes) < 30 {
		t.Fatalf("only %d quotes", len(quotes))
	}
	for _, quote := range quotes {
		words := strings.Join(strings.Fields(quote[1]), " ")
		if words != "…" && words != "I lost everything" && !strings.Contains(pages, words) {
			t.Errorf("no page says %q", words)
		}
	}
}

// bare is the text of a page.
func bare(page string) string {
	text := regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, "")
	return strings.Join(strings.Fields(html.UnescapeString(text)), " ") + "\n"
}
