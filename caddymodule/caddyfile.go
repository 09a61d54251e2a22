package caddymodule

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/stepgate/stepgate/internal/gate"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("stepgate", parseApp)
	// Not RegisterHandlerDirective: it takes a matcher token off the directive, and `stepgate /admin/*` would leave the
	// rest of the site without a gate.
	httpcaddyfile.RegisterDirective("stepgate", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("stepgate", httpcaddyfile.After, "forward_auth")
}

// parseApp reads the global option; its syntax stands at [App].
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // for the line
		return nil, d.Err("stepgate is configured already: one relying party serves all sites")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "stepgate", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the global option `stepgate`; its syntax stands at [App].
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // option name
	if d.NextArg() {
		return d.Errf("the global option stepgate takes a block only, found %q", d.Val())
	}
	seen := words{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := seen.once(d, word); err != nil {
			return err
		}
		var err error
		switch word {
		case "rp_id":
			err = oneArg(d, &a.RPID, checkDomain)
		case "rp_name":
			err = oneArg(d, &a.RPName)
		case "origins":
			err = someArgs(d, &a.Origins, gate.CheckOrigin)
		case "related_origins":
			err = someArgs(d, &a.RelatedOrigins, gate.CheckRelated)
		case "grant_keys":
			err = someArgs(d, &a.GrantKeys, checkKeyPlaceholder)
		case "store":
			err = a.unmarshalStore(d)
		case "challenge_ttl":
			var ttl *caddy.Duration
			if err = durationArg(d, &ttl, checkTTL); err == nil {
				a.ChallengeTTL = *ttl
			}
		case "registration":
			err = a.unmarshalRegistration(d)
		case "max_passkeys":
			err = numberArg(d, &a.MaxPasskeys, checkMaxPasskeys)
		case "keep_last":
			a.KeepLast, err = true, noArgs(d)
		case "recovery_codes":
			err = oneArg(d, &a.RecoveryCodes, checkRecoveryCodes)
		case "recovery_level":
			err = oneArg(d, &a.RecoveryLevel, checkRecoveryLevel)
		case "attestation":
			err = a.unmarshalAttestation(d)
		case "counter":
			err = oneArg(d, &a.Counter, checkCounter)
		case "audit":
			err = oneArg(d, &a.Audit, checkAudit)
		case "revocation_lag":
			err = durationArg(d, &a.RevocationLag, checkLag)
		default:
			err = d.Errf("unknown option %q of stepgate: it has rp_id, rp_name, origins, related_origins, store, grant_keys, challenge_ttl, registration, max_passkeys, keep_last, recovery_codes, recovery_level, attestation, counter, audit and revocation_lag", word)
		}
		if err != nil {
			return err
		}
	}
	if a.RPID == "" {
		return d.WrapErr(errNoRPID)
	}
	return nil
}

func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "stepgate.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

// parseDirective reads the directive `stepgate`:
//
//	stepgate {
//		user            <placeholder>
//		fold_user
//		bind_session    <placeholder>
//		path            <prefix>
//		ambiguous_paths refuse|strictest
//		mode            enforce|if_enrolled|report
//		enforce_from    <time>
//		max_age         <duration>
//		level           present|verified|device_bound|attested
//		open            <matcher...>
//		protect         <matcher...> {
//			max_age      <duration>
//			level        <level>
//			mode         <mode>
//			enforce_from <time>
//		}
//		protect {
//			match {
//				<matcher> <arguments...>
//			}
//			max_age      <duration>
//			level        <level>
//			mode         <mode>
//			enforce_from <time>
//		}
//	}
//
// A matcher is a path (/x, /x/*), a named matcher (@name) or *; any of several may match.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // directive name
	if h.NextArg() {
		return nil, h.Errf("stepgate takes no matcher or argument (found %q): it must see every request of the site, or the rest would have no gate; say what to protect inside its block", h.Val())
	}
	handler := new(Handler)
	seen := words{}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		word := h.Val()
		if word != "open" && word != "protect" {
			if err := seen.once(h.Dispenser, word); err != nil {
				return nil, err
			}
		}
		var err error
		switch word {
		case "user":
			err = oneArg(h.Dispenser, &handler.User, checkUserSource)
		case "fold_user":
			handler.FoldUser, err = true, noArgs(h.Dispenser)
		case "bind_session":
			err = oneArg(h.Dispenser, &handler.BindSession, checkSessionSource)
		case "path":
			err = oneArg(h.Dispenser, &handler.Path, gate.CheckPath)
		case "ambiguous_paths":
			err = oneArg(h.Dispenser, &handler.AmbiguousPaths, checkAmbiguousPaths)
		case "open", "protect":
			var rule *Rule
			if rule, err = parseRule(h); err == nil {
				handler.Rules = append(handler.Rules, rule)
			}
		default:
			var known bool
			known, err = parseDemand(h.Dispenser, word, &handler.MaxAge, &handler.Level, &handler.Mode, &handler.EnforceFrom)
			if !known && err == nil {
				err = h.Errf("unknown word %q in stepgate: it has user, fold_user, bind_session, path, ambiguous_paths, mode, enforce_from, max_age, level, open and protect", word)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return h.NewRoute(nil, handler), nil
}

// parseRule reads an open or protect rule.
func parseRule(h httpcaddyfile.Helper) (*Rule, error) {
	rule := &Rule{Action: h.Val()}
	for h.NextArg() {
		set, err := matcherOf(h)
		if err != nil {
			return nil, err
		}
		rule.MatchRaw = append(rule.MatchRaw, set)
	}
	tokens := len(rule.MatchRaw) > 0
	seen := words{}
	for nesting := h.Nesting(); h.NextBlock(nesting); {
		word := h.Val()
		if err := seen.once(h.Dispenser, word); err != nil {
			return nil, err
		}
		if word == "match" {
			if tokens {
				return nil, h.Err("a rule takes matchers behind its name or one match block, not both")
			}
			set, err := caddyhttp.ParseCaddyfileNestedMatcherSet(h.Dispenser)
			if err != nil {
				return nil, err
			}
			if err := checkSet(set); err != nil {
				return nil, h.WrapErr(err)
			}
			rule.MatchRaw = append(rule.MatchRaw, set)
			continue
		}
		if rule.Action == "open" {
			return nil, h.Errf("an open rule demands nothing, so it does not take %q", word)
		}
		known, err := parseDemand(h.Dispenser, word, &rule.MaxAge, &rule.Level, &rule.Mode, &rule.EnforceFrom)
		if err != nil {
			return nil, err
		}
		if !known {
			return nil, h.Errf("unknown word %q in a rule: it has match, max_age, level, mode and enforce_from", word)
		}
	}
	if len(rule.MatchRaw) == 0 {
		return nil, h.Errf("%s needs a matcher: a path, @name, *, or a match block", rule.Action)
	}
	return rule, nil
}

// matcherOf reads the current token as a matcher.
func matcherOf(h httpcaddyfile.Helper) (caddy.ModuleMap, error) {
	token := h.Val()
	if token == "*" {
		return caddy.ModuleMap{"path": caddyconfig.JSON(caddyhttp.MatchPath{"*"}, nil)}, nil
	}
	if !strings.HasPrefix(token, "/") && !strings.HasPrefix(token, "@") {
		return nil, h.Errf("%q is no matcher: use a path like /admin/*, a named matcher like @admin, or *", token)
	}
	h.Prev()
	set, _, err := h.MatcherToken()
	if err != nil {
		return nil, h.WrapErr(err)
	}
	if err := checkSet(set); err != nil {
		return nil, h.WrapErr(fmt.Errorf("%s: %w", token, err))
	}
	return set, nil
}

// parseDemand reads the words that block and rules share. It reports whether word was one of them.
func parseDemand(d *caddyfile.Dispenser, word string, maxAge **caddy.Duration, level, mode, enforceFrom *string) (bool, error) {
	switch word {
	case "max_age":
		return true, durationArg(d, maxAge, checkMaxAge)
	case "level":
		return true, oneArg(d, level, checkLevel)
	case "mode":
		return true, oneArg(d, mode, checkMode)
	case "enforce_from":
		return true, oneArg(d, enforceFrom, checkEnforceFrom)
	case "once":
		return true, d.Err(notBuilt("once", "max_age").Error())
	}
	return false, nil
}

// words notes which words a block has, so that none is there twice.
type words map[string]bool

func (w words) once(d *caddyfile.Dispenser, word string) error {
	if word == "{" {
		return d.Err("unexpected block: the word before it takes none")
	}
	if w[word] {
		return d.Errf("%s is given twice", word)
	}
	w[word] = true
	return nil
}

func noArgs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// oneArg reads the only argument of a word. The checks are those of the JSON twin; here their errors get file and line.
func oneArg(d *caddyfile.Dispenser, to *string, checks ...func(string) error) error {
	word := d.Val()
	if !d.NextArg() || d.Val() == "" {
		return d.ArgErr()
	}
	*to = d.Val()
	for _, check := range checks {
		if err := check(*to); err != nil {
			return d.WrapErr(fmt.Errorf("%s: %w", word, err))
		}
	}
	return noArgs(d)
}

func someArgs(d *caddyfile.Dispenser, to *[]string, check func(string) error) error {
	word := d.Val()
	for d.NextArg() {
		if err := check(d.Val()); err != nil {
			return d.WrapErr(fmt.Errorf("%s: %w", word, err))
		}
		*to = append(*to, d.Val())
	}
	if len(*to) == 0 {
		return d.ArgErr()
	}
	return nil
}

func numberArg(d *caddyfile.Dispenser, to *int, check func(int) error) error {
	return oneArg(d, new(string), func(text string) error {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 {
			return fmt.Errorf("%q is no positive number", text)
		}
		*to = number
		return check(number)
	})
}

func durationArg(d *caddyfile.Dispenser, to **caddy.Duration, check func(time.Duration) error) error {
	return oneArg(d, new(string), func(text string) error {
		parsed, err := caddy.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration: use for example 30s, 15m or 8h", text)
		}
		duration := caddy.Duration(parsed)
		*to = &duration
		return check(parsed)
	})
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
