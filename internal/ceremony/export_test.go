package ceremony

import "io"

// SetRandom replaces the source of challenges, user handles and epochs, so that a test can run published vectors or
// make the source fail.
func (s *Service) SetRandom(r io.Reader) { s.random = r }

// ParseAssertion and ParseAttestation parse a reply and throw away what they read.
func ParseAssertion(body []byte) error { _, err := parseAssertion(body); return err }
func ParseAttestation(body []byte) error {
	_, err := parseAttestation(body, false)
	if _, direct := parseAttestation(body, true); err == nil {
		return direct // what is good where nobody asks for attestation is good where somebody does
	}
	return err
}

// ParseClientData returns what our own parser reads.
func ParseClientData(text []byte) (kind, origin string, challenge []byte, crossOrigin, topOrigin bool, err error) {
	c, challenge, err := parseClientData(text)
	return string(c.kind), c.origin, challenge, c.crossOrigin, c.topOrigin, err
}
