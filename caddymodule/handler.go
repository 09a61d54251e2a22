package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler lets a request pass to the next handler only if its user proved, recently enough for the route, that they hold
// one of their passkeys. Everything is protected unless a rule says `open`. It must run behind the first factor (basic
// auth, forward_auth, mTLS: whatever says who the user is) and cover its own prefix, unstripped.
//
// It answers itself what it does not let pass: navigations go to the challenge page, everything else gets a 401 problem.
// To the upstream it sets, on protected routes, `X-Stepgate-User`, `X-Stepgate-Passkey`, `X-Stepgate-Level` and
// `X-Stepgate-Time`; a client's own copies are removed on every request.
//
// Placeholders, always set, empty where there is nothing to say (an open route, a refused request):
//
// Placeholder | Meaning
// ------------|--------
// `{http.stepgate.user}` | The user, as in `X-Stepgate-User`
// `{http.stepgate.passkey}` | The short id of the passkey used
// `{http.stepgate.level}` | `present`, `verified` or `device_bound`
// `{http.stepgate.time}` | When the passkey was used, RFC 3339
//
// In a Caddyfile it is the directive `stepgate`, which takes no matcher and is ordered after `forward_auth`.
type Handler struct {
	// The placeholder that holds the first factor's user: exactly one. If it is a request header, the first factor must
	// set it on every request, or clients could; a header that is there twice names nobody, and so does a client
	// certificate that no CA vouches for. Cookies, query and body are refused: clients write them.
	// Default: `{http.auth.user.id}`.
	User string `json:"user,omitempty"`

	// Whether user names are compared without regard to case. Default: false.
	FoldUser bool `json:"fold_user,omitempty"`

	// A placeholder that names the first-factor session, such as a session cookie: a grant then ends with it. Empty at a
	// request, or a cookie or header that is there twice: 401. Default: none.
	BindSession string `json:"bind_session,omitempty"`

	// The gateway's own prefix on this site. Default: `/.stepgate`.
	Path string `json:"path,omitempty"`

	// What happens to paths with `//`, `;`, or an encoded slash, `?` or `#`: `refuse` answers 400; `strictest` lets them through at
	// the strictest demand of the whole block. Paths that are ambiguous in worse ways are always refused.
	// Default: `refuse`.
	AmbiguousPaths string `json:"ambiguous_paths,omitempty"`

	// How far the rules are enforced. `enforce`: whoever lacks a step-up is stopped. `if_enrolled`: people without a
	// passkey are let through, everybody else is asked. `report`: nobody is stopped; what would have happened is logged and
	// counted. `{http.stepgate.would}` says what an enforced rule would have done: allow, step_up, or the code of a
	// refusal. Default: `enforce`.
	Mode string `json:"mode,omitempty"`

	// From when on the mode `enforce` is in force, for example `2026-12-01T09:00:00Z` (RFC 3339). Until then it is as
	// `if_enrolled`, and the pages count down the days. Default: at once.
	EnforceFrom string `json:"enforce_from,omitempty"`

	// The rules, tried in order; the first that matches decides. What none matches is protected with the block's own
	// demand.
	Rules []*Rule `json:"rules,omitempty"`

	// How old the last step-up may be, unless a rule says otherwise. Must be positive. Default: 15m.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// How strong it must be, unless a rule says otherwise: `present` (somebody touched the passkey), `verified` (it
	// checked who, by PIN or biometrics) `device_bound` (and can't be synced to another device)
	// or `attested` (and is of a make that the app's `attestation` trusts). Default: `verified`.
	Level string `json:"level,omitempty"`

	// Not built yet: refused.
	Once bool `json:"once,omitempty"`

	gate    *gate.Gate
	user    source
	session source
	signIn  source // the app's
	name    string
	logger  *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.stepgate", New: func() caddy.Module { return new(Handler) }}
}

// Provision turns the configuration into a gate.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	app.handlers++
	h.name = fmt.Sprintf("stepgate block %d (path %s, %d rules)", app.handlers, orDefault(h.Path, gate.DefaultPath), len(h.Rules))

	if h.Once {
		return fmt.Errorf("stepgate: %w", notBuilt("once", "max_age"))
	}
	if err := checkAmbiguousPaths(h.AmbiguousPaths); err != nil {
		return fmt.Errorf("stepgate: ambiguous_paths: %w", err)
	}
	if h.user, err = newSource(orDefault(h.User, "{http.auth.user.id}"), false); err != nil {
		return fmt.Errorf("stepgate: user: %w", err)
	}
	if h.BindSession != "" {
		if h.session, err = newSource(h.BindSession, true); err != nil {
			return fmt.Errorf("stepgate: bind_session: %w", err)
		}
	}
	h.signIn = app.signIn()
	block := policy.Rule{Name: "default", Demand: policy.Demand{Level: passkey.Verified, MaxAge: 15 * time.Minute}}
	if block.Demand, err = overlay(block.Demand, h.MaxAge, h.Level); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	if block.Mode, block.From, err = enforced(policy.Rule{}, h.Mode, h.EnforceFrom); err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	if block.Demand.Level == passkey.Attested {
		if err := app.checkAttested(); err != nil {
			return fmt.Errorf("stepgate: level: %w", err)
		}
	}
	routes := make([]gate.Route, 0, len(h.Rules))
	for i, rule := range h.Rules {
		route, err := rule.provision(ctx, block, i)
		if err != nil {
			return err
		}
		if route.Demand.Level == passkey.Attested {
			if err := app.checkAttested(); err != nil {
				return fmt.Errorf("stepgate: rules[%d]: level: %w", i, err)
			}
		}
		routes = append(routes, route)
	}
	recorder, err := withEvents(ctx, audit.Log{Logger: h.logger.Named("audit"), Require: app.Audit == "require"})
	if err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	h.gate, err = gate.New(gate.Config{
		RPName: app.service.RPName, RPID: app.RPID, Origins: app.service.Origins, Longest: app.longestAge,
		Path: h.Path, Rules: routes, Default: block,
		LetDebatable: h.AmbiguousPaths == "strictest", BindSession: h.BindSession != "", FoldUser: h.FoldUser,
		IdentityHeaders: slices.Concat(h.user.headers(), h.session.headers(), h.signIn.headers()),
		ChallengeTTL:    app.service.TTL, MaxPasskeys: app.service.MaxPasskeys, InviteOnly: app.service.InviteOnly,
		KeepLast: app.service.KeepLast, NoRecovery: app.service.NoRecovery, SignInWithin: app.service.SignInWithin,
		Backend: app.backend, Audit: recorder, Meter: metrics, Judging: traceJudgement, Logger: h.logger, Now: app.now,
	})
	if err != nil {
		return fmt.Errorf("stepgate: %w", err)
	}
	app.longest = max(app.longest, h.gate.LongestAge())
	return nil
}

func appOf(ctx caddy.Context) (*App, error) {
	module, err := ctx.AppIfConfigured("stepgate")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, errors.New("stepgate: no relying party is configured: add a global option block, for example `{ stepgate { rp_id example.com } }`")
	}
	if err != nil {
		return nil, err
	}
	return module.(*App), nil
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// passedKey marks a request that has met a stepgate block.
const passedKey = "stepgate.block"

// ServeHTTP implements [caddyhttp.MiddlewareHandler]. It wraps no writer and reads no body, so uploads, streams and
// WebSockets behind it work as without it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ctx := r.Context()
	replacer := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	original, _ := ctx.Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if original.URL == nil || vars == nil { // not a request of Caddy's server: nothing can be said about it
		h.logger.Error("request was not prepared by Caddy")
		w.WriteHeader(http.StatusInternalServerError)
		return nil
	}
	in := gate.Request{
		User: h.user.read(r, replacer), Session: h.session.read(r, replacer), SignedIn: h.signIn.read(r, replacer),
		Original: original.URL, Peer: peer(vars), IDs: requestIDs{replacer},
	}
	if earlier, met := vars[passedKey].(*Handler); met {
		// Which block's word counts? Nobody could tell, so the request goes nowhere.
		h.logger.Error("request met two stepgate blocks: put one block around both routes, or make the routes exclusive with handle",
			zap.String("first", earlier.name), zap.String("second", h.name), zap.String("path", original.URL.Path))
		h.gate.Refuse(w, r, &in, passkey.Internal)
		return nil
	}
	vars[passedKey] = h

	passed, ok := h.gate.Serve(w, r, &in)
	replacer.Map(placeholders{passed}.value)
	if !ok {
		return nil // the answer is written; an error would run the error routes on the original request, without the gate
	}
	return next.ServeHTTP(w, r)
}

// placeholders answer for ours also where they are empty: one that is unknown would reach the upstream as its own name.
// As a function they cost one allocation; setting five values would cost five, and a map.
type placeholders struct{ *gate.Passed }

func (p placeholders) value(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, "http.stepgate.")
	if !ours {
		return nil, false
	}
	switch name {
	case "user":
		return p.User(), true
	case "passkey":
		return p.Passkey(), true
	case "level":
		return p.Level(), true
	case "time":
		return p.Time(), true
	case "would":
		return p.Would(), true
	}
	return nil, false
}

// peer is what Caddy's server found out about the connection, among a request's variables.
type peer map[string]any

// Client implements [gate.Peer].
func (vars peer) Client() string {
	client, _ := vars[caddyhttp.ClientIPVarKey].(string)
	return client
}

// Trusted implements [gate.Peer].
func (vars peer) Trusted() bool {
	trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool)
	return trusted
}

// requestIDs asks Caddy for the request's id, which is made at the first time of asking.
type requestIDs struct{ replacer *caddy.Replacer }

// RequestID implements [gate.IDSource].
func (ids requestIDs) RequestID() string {
	id, _ := ids.replacer.GetString("http.request.uuid")
	return id
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
)
