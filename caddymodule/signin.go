package caddymodule

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// The limits of sign_in_within: shorter, nobody could read the page in time; longer, it would mean nothing.
const (
	minSignIn = time.Minute
	maxSignIn = 24 * time.Hour
)

// unmarshalRegistration reads how first passkeys are registered:
//
//	registration first_use|invite
//	registration first_use {
//		sign_in_time <placeholder> within <duration>
//	}
func (a *App) unmarshalRegistration(d *caddyfile.Dispenser) error {
	if err := oneArg(d, &a.Registration, checkRegistration); err != nil {
		return err
	}
	seen := words{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := seen.once(d, word); err != nil {
			return err
		}
		if word != "sign_in_time" {
			return d.Errf("unknown word %q in registration: it has sign_in_time", word)
		}
		arguments := d.RemainingArgsAsTokens()
		if len(arguments) != 3 || arguments[1].Text != "within" {
			return d.Err("sign_in_time takes a placeholder and how old it may be, for example: sign_in_time {header.X-Auth-Time} within 10m")
		}
		within, err := caddy.ParseDuration(arguments[2].Text)
		if err != nil {
			return d.Errf("sign_in_time: %q is no duration: use for example 10m", arguments[2].Text)
		}
		a.SignInTime, a.SignInWithin = writtenOut(arguments[0].Text), caddy.Duration(within)
		if err := a.checkSignIn(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// writtenOut returns the placeholder that a short one like {header.X} stands for in a Caddyfile. Caddy itself writes them
// out in sites, and not in the global options.
func writtenOut(placeholder string) string {
	segment := caddyfile.Segment{{Text: placeholder}}
	httpcaddyfile.NewShorthandReplacer().ApplyToSegment(&segment)
	return segment[0].Text
}

// checkSignIn looks at the sign-in's time and its limit, which are there together or not at all.
func (a *App) checkSignIn() error {
	if a.SignInTime == "" && a.SignInWithin == 0 {
		return nil
	}
	if a.Registration == "invite" {
		return errors.New("sign_in_time: with registration invite no sign-in registers a passkey; it is for first_use")
	}
	if a.SignInTime == "" {
		return errors.New("sign_in_within: there is no sign_in_time")
	}
	if _, err := newSource(a.SignInTime, false); err != nil {
		return fmt.Errorf("sign_in_time: %w", err)
	}
	if long := writtenOut(a.SignInTime); long != a.SignInTime {
		return fmt.Errorf("sign_in_time: %q is short for %s in a Caddyfile only", a.SignInTime, long)
	}
	if within := time.Duration(a.SignInWithin); within < minSignIn || within > maxSignIn {
		return fmt.Errorf("sign_in_within: %s: must be from 1m to 24h", within)
	}
	return nil
}

// signIn returns where the time of the sign-in comes from; the zero source where it is not asked for.
func (a *App) signIn() source {
	if a.SignInTime == "" {
		return source{}
	}
	s, _ := newSource(a.SignInTime, false) // was checked
	return s
}
