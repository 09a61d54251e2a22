package gate

import (
	"fmt"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Browsers let an origin that does not lie within the RP ID use its passkeys where the RP ID's own host names the origin
// at /.well-known/webauthn (WebAuthn L3 §5.11). What they pass over in that document is refused here, when the
// configuration is loaded: otherwise nobody could step up there, and nothing would say why.

// MaxLabels is how many different names ([RelatedLabel]) every browser takes from that document. It may pass over what
// comes after (§5.11: clients have to support five, and should have a limit).
const MaxLabels = 5

// Within reports whether a canonical origin lies within a relying party's id: its host is the id or below it.
func Within(origin, rpID string) bool {
	host := HostOf(origin)
	return host == rpID || strings.HasSuffix(host, "."+rpID)
}

// HostOf returns the host of a canonical origin, without its port. No address holds a colon: it is a domain.
func HostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	host, _, _ = strings.Cut(host, ":")
	return host
}

// CheckRelated tells whether a text can be configured as a related origin of some relying party.
func CheckRelated(text string) error {
	o, err := parseOrigin(text)
	if err != nil {
		return err
	}
	if !o.secure {
		return fmt.Errorf("origin %q: a related origin must be https", text)
	}
	_, err = RelatedLabel(text)
	return err
}

// RelatedLabel returns what browsers count an origin under: the label before the public suffix, `example` for
// https://console.example.co.uk. An origin that has none, an address or a name like `intranet`, is an error: they pass
// it over.
func RelatedLabel(origin string) (string, error) {
	host := HostOf(origin)
	registrable, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil || isAddress(host) {
		return "", fmt.Errorf("origin %q: browsers take only a registered domain, or a host below one, for a related origin", origin)
	}
	label, _, _ := strings.Cut(registrable, ".")
	return label, nil
}

// isAddress reports whether browsers read a host as an IPv4 address: its last label is a number (URL standard, "ends in a
// number checker").
func isAddress(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// OriginLine returns the line of configuration that would make a Host known to a relying party with these origins.
func OriginLine(rpID string, origins []string, host string) string {
	missing := "https://" + strings.ToLower(host)
	if missing == "https://localhost" || strings.HasPrefix(missing, "https://localhost:") {
		missing = "http" + strings.TrimPrefix(missing, "https")
	}
	word, within := "origins", true
	switch {
	case CheckOrigin(missing) == nil && Within(missing, rpID):
	case CheckRelated(missing) == nil && rpID != "localhost":
		word, within = "related_origins", false
	default:
		missing = "https://<this host>" // the Host is no name that could be configured
	}
	line := word
	for _, origin := range origins {
		if Within(origin, rpID) == within {
			line += " " + origin
		}
	}
	return line + " " + missing
}
