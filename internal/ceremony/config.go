package ceremony

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/stepgate/stepgate/internal/passkey"
)

// mostPasskeys is how many passkeys a user may ever have: the highest MaxPasskeys that can be configured, and what an export
// takes.
const mostPasskeys = 100

// Defaults of [Config].
const (
	DefaultTTL         = 5 * time.Minute // WebAuthn L3 §15.1 recommends 5 to 10 minutes
	DefaultMaxPasskeys = 10
)

// Config is what a [Service] needs. Zero fields take the strictest or documented default.
type Config struct {
	// RPID is the relying party's id: a domain, or localhost. Required.
	RPID string

	// RPName is what authenticators show for the relying party; RPID when empty.
	RPName string

	// Origins are the origins that may use the relying party, exactly as browsers serialise them: scheme and host,
	// lower case, the port only when it is not the scheme's default. At least one. https, or http on localhost.
	Origins []string

	// TTL is how long a challenge lives, and the browser's timeout. 0 means [DefaultTTL].
	TTL time.Duration

	// MaxPasskeys bounds the passkeys of one user; an invitation or a recovery code registers one beyond it. 0 means
	// [DefaultMaxPasskeys].
	MaxPasskeys int

	// InviteOnly has a user's first passkey need an invitation (registration invite), not the first factor alone.
	InviteOnly bool

	// KeepLast refuses that a user removes their only passkey.
	KeepLast bool

	// NoRecovery switches recovery codes off: none are made, and those that were made before are of no use.
	NoRecovery bool

	// RecoveryLevel is the highest level that a passkey may prove which was registered with a recovery code, and so that of
	// those it then adds: a code is a piece of paper. 0 means [passkey.Verified]; at least that.
	RecoveryLevel passkey.Level

	// ModelName returns what the maker of an authenticator calls the model that an AAGUID stands for, "" where nobody knows. It
	// names passkeys that their user did not name, and decides nothing. Nil means nobody knows any.
	ModelName func(aaguid [16]byte) string

	// Attestation has registrations ask for attestation and says which of it leads to [passkey.Attested]. nil asks for none,
	// and no passkey reaches the level.
	Attestation *Attestation

	// SignInWithin is how long after the sign-in ([Party].SignedIn) a user's first passkey may be registered on the first
	// factor alone. 0 asks for no time. It can't be had with InviteOnly, which leaves nothing to the first factor.
	SignInWithin time.Duration

	// CounterWarn lets a backup-eligible passkey pass whose sign count did not rise, and says so in [Proof]. Synced
	// passkeys have no single counter. The default refuses every passkey whose count did not rise.
	CounterWarn bool

	// Recall lets the start of a step-up offer what the last one from the same browser found less than a minute before
	// ([Lately]), instead of reading it again. Who did that has a passkey at hand that is offered; what else another gateway
	// registered or removed meanwhile shows a minute later, and which passkey is good is decided when the step-up is
	// finished. The default reads at every start.
	Recall bool

	// Store keeps users, passkeys and challenges of this relying party. Required.
	Store Store

	// Now reads the clock that expiry and times are taken from; nil means time.Now.
	Now func() time.Time
}

// Service runs the ceremonies of one relying party. It is safe for concurrent use. What lives longer than a call is in the
// [Store]; besides, a Service remembers the step-ups of the last minute, and decides nothing on that which a Store decides.
type Service struct {
	config  Config
	recent  *recent
	library *webauthn.WebAuthn // never changed after New: it is shared by all requests
	random  io.Reader
}

// New returns a Service, or an error that names the setting that can't be used. It does no I/O.
func New(config Config) (*Service, error) {
	if config.Store == nil {
		return nil, errors.New("ceremony: no store")
	}
	if len(config.Origins) == 0 {
		return nil, errors.New("ceremony: no origins")
	}
	recent := newRecent()
	config.Store = changing{whole{config.Store}, recent}
	config.Origins = slices.Clone(config.Origins)
	for i, origin := range config.Origins {
		if err := checkOrigin(origin); err != nil {
			return nil, err
		}
		if slices.Contains(config.Origins[:i], origin) {
			return nil, fmt.Errorf("ceremony: origin %q is listed twice", origin)
		}
	}
	if config.TTL < 0 || config.MaxPasskeys < 0 {
		return nil, errors.New("ceremony: negative TTL or number of passkeys")
	}
	if config.RecoveryLevel == 0 {
		config.RecoveryLevel = passkey.Verified
	}
	if config.RecoveryLevel < passkey.Verified || !config.RecoveryLevel.Valid() {
		return nil, errors.New("ceremony: a recovery level below verified could not even add a passkey")
	}
	if config.SignInWithin < 0 || config.SignInWithin > 0 && config.InviteOnly {
		return nil, errors.New("ceremony: a time since the sign-in must be positive, and has no use where only invitations register a first passkey")
	}
	if config.TTL == 0 {
		config.TTL = DefaultTTL
	}
	if config.MaxPasskeys == 0 {
		config.MaxPasskeys = DefaultMaxPasskeys
	}
	if config.RPName == "" {
		config.RPName = config.RPID
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.RPID == "" {
		return nil, errors.New("ceremony: no relying party id")
	}
	conveyance := protocol.PreferNoAttestation
	if config.Attestation != nil {
		if config.Attestation.Metadata == nil {
			return nil, errors.New("ceremony: attestation without metadata")
		}
		conveyance = protocol.PreferDirectAttestation
	}
	timeout := webauthn.TimeoutConfig{Timeout: config.TTL, TimeoutUVD: config.TTL} // a hint: the record's expiry decides
	library, err := webauthn.New(&webauthn.Config{
		RPID:                  config.RPID,
		RPDisplayName:         config.RPName,
		RPOrigins:             config.Origins,
		AttestationPreference: conveyance,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey:      protocol.ResidentKeyRequirementPreferred,
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: timeout, Registration: timeout},
		// Safari returns appid:false unasked; rejecting that locks out security keys. extensions.check refuses what matters.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return nil, fmt.Errorf("ceremony: configuring go-webauthn: %w", err)
	}
	return &Service{config: config, recent: recent, library: library, random: rand.Reader}, nil
}

// checkOrigin refuses an origin that no browser would send in these very bytes.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || origin != u.Scheme+"://"+strings.ToLower(u.Host) {
		return fmt.Errorf("ceremony: %q is no origin: use scheme://host[:port]", origin)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
			return fmt.Errorf("ceremony: %q is no origin: the port is a number from 1 to 65535, without a zero in front", origin)
		}
	}
	local := u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost")
	switch {
	case u.Scheme == "https" && u.Port() != "443", u.Scheme == "http" && local && u.Port() != "80":
		return nil
	}
	return fmt.Errorf("ceremony: origin %q must be https (or http on localhost), without the default port", origin)
}

// admit refuses a party that no ceremony can be bound to. The gate checks the same things earlier; here they keep a
// mistake there from making a ceremony that anybody could finish.
func (s *Service) admit(party Party) error {
	if err := passkey.CheckUser(party.User); err != nil {
		return err
	}
	if !slices.Contains(s.config.Origins, party.Origin) {
		return passkey.OriginUnknown
	}
	if party.Browser == (passkey.Digest{}) {
		return passkey.BrowserMismatch
	}
	return nil
}

// draw returns n random bytes. A source that fails is an error, never a shorter or weaker value.
func (s *Service) draw(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, fmt.Errorf("reading random bytes: %w", passkey.Internal)
	}
	return b, nil
}
