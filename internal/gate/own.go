package gate

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// The two addresses outside the prefix that the gate serves. They name only what is configured, so they need no user.
const (
	wellKnownOrigins   = "/.well-known/webauthn"
	wellKnownEndpoints = "/.well-known/passkey-endpoints"
)

// ownPath reports whether an original path is the gateway's own, and returns it without the prefix. Rewrites can't hide
// it: the path is the one that the client sent.
func (g *Gate) ownPath(original string) (rest string, own bool) {
	if original == wellKnownOrigins || original == wellKnownEndpoints {
		return original, true
	}
	if !within(original, g.cfg.Path) {
		return "", false
	}
	return original[len(g.cfg.Path):], true
}

// looksWellKnown reports whether a path is one of the two well-known ones but for case or doubled slashes. A matcher that
// exempts those from the first factor folds both, and what it exempts must end here.
func looksWellKnown(original string) bool {
	if len(original) < 2 || original[1] != '.' && original[1] != '/' || original == wellKnownOrigins || original == wellKnownEndpoints {
		return false
	}
	cleaned := path.Clean(original)
	lowered := strings.ToLower(cleaned) // as Caddy's matcher does: it takes the Turkish İ for an i, which EqualFold does not
	return strings.EqualFold(cleaned, wellKnownOrigins) || strings.EqualFold(cleaned, wellKnownEndpoints) ||
		lowered == wellKnownOrigins || lowered == wellKnownEndpoints
}

// endpoint serves one of the gateway's own addresses to an identified user: it either shows something, or takes a JSON
// body with these members and changes something.
type endpoint struct {
	shows   func(g *Gate, x *exchange, b *Backend)
	changes func(g *Gate, x *exchange, b *Backend, body *strictjson.Reader)
	members []string
}

func shows(serve func(*Gate, *exchange, *Backend)) endpoint { return endpoint{shows: serve} }

func changes(serve func(*Gate, *exchange, *Backend, *strictjson.Reader), members ...string) endpoint {
	return endpoint{changes: serve, members: members}
}

// startBudget starts the time that the store calls of this request may take, and returns what ends it.
func (x *exchange) startBudget() context.CancelFunc {
	ctx, cancel := context.WithTimeout(x.r.Context(), StoreBudget)
	x.store = ctx
	return cancel
}

// endpoints are the gateway's own addresses below its prefix, by method (docs/http.md). GET serves HEAD too.
var endpoints = map[string]map[string]endpoint{
	"/challenge":         {http.MethodGet: shows((*Gate).challengePage)},
	"/challenge/options": {http.MethodPost: changes((*Gate).startStepUp, "demand", "return_to")},
	"/challenge/verify":  {http.MethodPost: changes((*Gate).finishStepUp, "demand", "return_to", "credential")},
	"/passkeys": {
		http.MethodGet:  shows((*Gate).listPasskeys),
		http.MethodPost: changes((*Gate).finishRegistration, "credential", "name", "suggested"),
	},
	"/passkeys/options":           {http.MethodPost: changes((*Gate).startRegistration, "name", "authorization", "invitation", "recovery_code", "demand", "return_to")},
	"/passkeys/authorize/options": {http.MethodPost: changes((*Gate).startAuthorization, "action", "id")},
	"/passkeys/{id}": {
		http.MethodPatch:  changes((*Gate).renamePasskey, "name"),
		http.MethodDelete: changes((*Gate).removePasskey, "authorization", "last"),
	},
	"/recovery-codes": {http.MethodPost: changes((*Gate).makeRecoveryCodes, "authorization")},
	"/status":         {http.MethodGet: shows((*Gate).status)},
	"/logout":         {http.MethodPost: changes((*Gate).logout)},
}

// serveOwn serves the gateway's own addresses. Nothing here ever reaches the upstream.
func (g *Gate) serveOwn(x *exchange, rest string, originRefusal passkey.Refusal) {
	if strings.HasPrefix(rest, "/assets/") || rest == wellKnownOrigins || rest == wellKnownEndpoints {
		g.servePublic(x, rest)
		return
	}
	methods, known := endpoints[endpointOf(rest)]
	if !known {
		g.refuse(x, passkey.NotFound)
		return
	}
	method := x.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	serve, allowed := methods[method]
	if !allowed {
		setAllow(x.w.Header(), methods)
		g.refuse(x, passkey.MethodNotAllowed)
		return
	}
	if isEarly(x.r) {
		g.refuse(x, passkey.TooEarly)
		return
	}
	if originRefusal != "" {
		g.refuse(x, originRefusal)
		return
	}
	if refusal := g.identify(x); refusal != "" {
		g.refuse(x, refusal)
		return
	}
	backend, err := g.cfg.Backend()
	if err != nil {
		g.fail(x, "opening store", err)
		return
	}
	if serve.changes != nil {
		if g.muted(x) {
			return
		}
		body, err := g.readBody(x, serve.members...)
		if err != nil {
			g.refuse(x, refusalOf(err))
			return
		}
		defer x.startBudget()()
		serve.changes(g, x, backend, body)
		return
	}
	defer x.startBudget()()
	serve.shows(g, x, backend)
}

// endpointOf maps a path below the prefix to the pattern it is served under.
func endpointOf(rest string) string {
	if rest == "/passkeys/options" {
		return rest
	}
	if id, ok := strings.CutPrefix(rest, "/passkeys/"); ok && id != "" && !strings.Contains(id, "/") {
		return "/passkeys/{id}"
	}
	return rest
}

func setAllow[V any](header http.Header, methods map[string]V) {
	var names []string
	for method := range methods {
		names = append(names, method)
		if method == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	header.Set("Allow", strings.Join(names, ", "))
}

// servePublic serves what needs no user: script, stylesheet and icons, without which the page that says "you are not
// signed in" could not be read, and the two well-known documents.
func (g *Gate) servePublic(x *exchange, rest string) {
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		setAllow(x.w.Header(), map[string]bool{http.MethodGet: true})
		g.refuse(x, passkey.MethodNotAllowed)
		return
	}
	switch rest {
	case wellKnownOrigins: // WebAuthn L3 §5.11: the origins that may use this RP ID
		g.writeJSON(x, http.StatusOK, map[string][]string{"origins": g.cfg.Origins})
	case wellKnownEndpoints: // W3C "A Well-Known URL for Relying Party Passkey Endpoints"
		if x.origin == nil {
			g.refuse(x, passkey.OriginUnknown)
			return
		}
		page := x.origin.text + g.cfg.Path + "/passkeys"
		g.writeJSON(x, http.StatusOK, map[string]string{"enroll": page, "manage": page})
	default:
		g.serveAsset(x, strings.TrimPrefix(rest, "/assets/"))
	}
}

func (g *Gate) serveAsset(x *exchange, name string) {
	file, ok := assets.Lookup(name)
	if !ok {
		g.refuse(x, passkey.NotFound)
		return
	}
	g.sendAsset(x, file)
}

func (g *Gate) sendAsset(x *exchange, file assets.File) {
	header := x.w.Header()
	header.Set("ETag", file.ETag)
	if x.r.Header.Get("If-None-Match") == file.ETag {
		setPrivate(header)
		header.Set("Cache-Control", immutable)
		x.w.WriteHeader(http.StatusNotModified)
		return
	}
	setPrivate(header)
	header.Set("Cache-Control", immutable)
	header.Set("Content-Type", file.ContentType)
	x.w.WriteHeader(http.StatusOK)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(file.Body) // a client that went away is nobody's error
	}
}

// immutable suits assets because their names hold a hash of their content.
const immutable = "public, max-age=31536000, immutable"
