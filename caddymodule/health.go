package caddymodule

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(new(Health))
	httpcaddyfile.RegisterHandlerDirective("stepgate_health", parseHealth)
	httpcaddyfile.RegisterDirectiveOrder("stepgate_health", httpcaddyfile.Before, "respond")
}

// Health tells load balancers and orchestrators how this gateway is:
//
// Address | Answer
// --------|-------
// `/live` | 200 while the process serves
// `/ready` | 200 while protected requests can be served, else 503 with the reasons
//
// Every other path is answered 404, and every method but GET and HEAD 405. It needs no sign-in and says nothing but these
// words, so it may stand on a port of its own: `http://:8081 { stepgate_health }`. However often it is asked, the store is
// asked about once a second.
//
// Reason | Meaning
// -------|--------
// `store_unavailable` | the store does not answer, or is damaged
// `tables_wrong` | a table of DynamoDB is missing or has the wrong keys
// `grant_keys_missing` | the keys that seal grants could not be read
// `not_open` | the store is not open yet, or could not be opened
// `shutting_down` | Caddy's shutdown_delay has begun: send no new requests here
type Health struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.stepgate_health", New: func() caddy.Module { return new(Health) }}
}

// Provision finds the app whose health it tells.
func (h *Health) Provision(ctx caddy.Context) (err error) {
	h.app, err = appOf(ctx)
	return err
}

// healthAnswer is the body of an answer.
type healthAnswer struct {
	Status  string    `json:"status"` // "live", "ready" or "not_ready"
	Reasons []unready `json:"reasons,omitempty"`
}

// ServeHTTP implements [caddyhttp.MiddlewareHandler]. It never calls the next handler.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if r.URL.Path != "/live" && r.URL.Path != "/ready" {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	status, answer := http.StatusOK, healthAnswer{Status: "live"}
	if r.URL.Path == "/ready" {
		answer.Status = "ready"
		if answer.Reasons = h.reasons(r); len(answer.Reasons) > 0 {
			status, answer.Status = http.StatusServiceUnavailable, "not_ready"
		}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	body = append(body, '\n')
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that went away is nobody's error
	}
	return nil
}

func (h *Health) reasons(r *http.Request) []unready {
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if stopping, _ := replacer.GetString("http.shutting_down"); stopping == "true" {
			return []unready{shuttingDown}
		}
	}
	return h.app.ready.ask(r.Context())
}

// parseHealth reads the directive `stepgate_health`. Like Caddy's own handlers it may have a matcher. Syntax:
//
//	stepgate_health [<matcher>]
func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	health := new(Health)
	return health, health.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens; its syntax stands at [parseHealth].
func (h *Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.Errf("stepgate_health takes no argument, found %q: its addresses are /live and /ready", d.Val())
	}
	if d.NextBlock(0) {
		return d.Errf("stepgate_health has no option %q", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddyfile.Unmarshaler       = (*Health)(nil)
)
