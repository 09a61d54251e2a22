package caddymodule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// The checks of single values. The Caddyfile and the JSON configuration share them, so that neither accepts what the
// other refuses; the Caddyfile adds file and line.

// notBuilt refuses a word that the design has and this version has not: it is never accepted and ignored.
func notBuilt(word, instead string) error {
	return fmt.Errorf("`%s` is not built yet in this version; use `%s`", word, instead)
}

var errNoRPID = errors.New("rp_id is missing: give the domain that the passkeys belong to, for example `rp_id example.com`")

// check looks at each option by itself. Zero values are the defaults.
func (a *App) check() error {
	if a.RPID == "" {
		return errNoRPID
	}
	if err := checkDomain(a.RPID); err != nil {
		return fmt.Errorf("rp_id: %w", err)
	}
	if err := checkRegistration(a.Registration); err != nil {
		return fmt.Errorf("registration: %w", err)
	}
	if err := a.checkSignIn(); err != nil {
		return err
	}
	if err := checkCounter(a.Counter); err != nil {
		return fmt.Errorf("counter: %w", err)
	}
	if err := checkRecoveryCodes(a.RecoveryCodes); err != nil {
		return fmt.Errorf("recovery_codes: %w", err)
	}
	if err := checkRecoveryLevel(a.RecoveryLevel); err != nil {
		return fmt.Errorf("recovery_level: %w", err)
	}
	if a.RecoveryLevel == "attested" && a.Attestation == nil {
		return errors.New("recovery_level: `attested` needs the block attestation, which says whose word on an authenticator counts; without it no passkey reaches that level")
	}
	if a.RecoveryLevel != "" && a.RecoveryCodes == "off" {
		return errors.New("recovery_level says what recovery codes reach, but recovery_codes is off: leave one of them out")
	}
	if err := checkAudit(a.Audit); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if a.ChallengeTTL != 0 {
		if err := checkTTL(time.Duration(a.ChallengeTTL)); err != nil {
			return fmt.Errorf("challenge_ttl: %w", err)
		}
	}
	if a.MaxPasskeys != 0 {
		if err := checkMaxPasskeys(a.MaxPasskeys); err != nil {
			return fmt.Errorf("max_passkeys: %w", err)
		}
	}
	if a.RevocationLag != nil {
		if err := checkLag(time.Duration(*a.RevocationLag)); err != nil {
			return fmt.Errorf("revocation_lag: %w", err)
		}
	}
	return nil
}

// checkDomain accepts a domain as browsers write it: no scheme, port, wildcard, upper case, or letters that are not ASCII.
func checkDomain(domain string) error {
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("%q is no domain as browsers write it, for example console.example.com", domain)
		}
	}
	return nil
}

// checkKeyPlaceholder never quotes the text: it may be the key.
func checkKeyPlaceholder(text string) error {
	inner, ok := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !ok || !closed || strings.ContainsAny(inner, "{}") || strings.HasSuffix(inner, ".") ||
		!strings.HasPrefix(inner, "env.") && !strings.HasPrefix(inner, "file.") {
		return errors.New("must be a placeholder like {env.STEPGATE_GRANT_KEYS} or {file./run/secrets/stepgate}, never the key itself")
	}
	return nil
}

func checkTTL(ttl time.Duration) error {
	if ttl < 30*time.Second || ttl > time.Hour {
		return fmt.Errorf("%s: must be from 30s to 1h", ttl)
	}
	return nil
}

func checkLag(lag time.Duration) error {
	if lag < 0 || lag > time.Minute {
		return fmt.Errorf("%s: must be from 0 to 1m", lag)
	}
	return nil
}

func checkMaxPasskeys(number int) error {
	if number < 1 || number > 100 {
		return fmt.Errorf("%d: must be from 1 to 100", number)
	}
	return nil
}

func checkRegistration(how string) error {
	switch how {
	case "", "first_use", "invite":
		return nil
	}
	return fmt.Errorf("%q: must be first_use or invite", how)
}

func checkRecoveryCodes(how string) error {
	switch how {
	case "", "on", "off":
		return nil
	}
	return fmt.Errorf("%q: must be on or off", how)
}

func checkRecoveryLevel(level string) error {
	switch level {
	case "", "verified", "device_bound", "attested":
		return nil
	}
	return fmt.Errorf("%q: must be verified, device_bound or attested", level)
}

func checkAudit(how string) error {
	switch how {
	case "", "require":
		return nil
	}
	return fmt.Errorf("%q: must be require", how)
}

func checkCounter(how string) error {
	switch how {
	case "", "reject", "warn":
		return nil
	}
	return fmt.Errorf("%q: must be reject or warn", how)
}

func checkMode(mode string) error {
	if _, known := modes[mode]; !known {
		return fmt.Errorf("%q: must be enforce, if_enrolled or report", mode)
	}
	return nil
}

var modes = map[string]policy.Mode{"": policy.Enforce, "enforce": policy.Enforce, "if_enrolled": policy.IfEnrolled, "report": policy.Report}

// checkEnforceFrom accepts an instant as RFC 3339 writes it. Not a day: that begins at another time wherever a person is.
func checkEnforceFrom(text string) error {
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return fmt.Errorf("%q is no time with a zone as RFC 3339 writes it, for example 2026-12-01T09:00:00Z", text)
	}
	return nil
}

func checkAmbiguousPaths(how string) error {
	switch how {
	case "", "refuse", "strictest":
		return nil
	}
	return fmt.Errorf("%q: must be refuse or strictest", how)
}

func checkMaxAge(maxAge time.Duration) error {
	switch {
	case maxAge == 0:
		return errors.New("0 would let nothing pass; to ask at every request there will be `once`, which is not built yet in this version")
	case maxAge < 0:
		return fmt.Errorf("%s: must be positive", maxAge)
	}
	return nil
}

func checkLevel(level string) error {
	if _, err := passkey.ParseLevel(level); err != nil {
		return fmt.Errorf("%q: must be present, verified, device_bound or attested", level)
	}
	return nil
}
