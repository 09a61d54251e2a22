package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/passkey"
)

func init() {
	caddy.RegisterModule(new(AdminAPI))
}

// AdminAPI lets administrators see and change the users of the running gateway, at Caddy's admin endpoint, below
// `/stepgate/`. It has no configuration: who may use Caddy's admin endpoint may use this, and Caddy's own checks of host,
// origin and, for the remote endpoint, identity stand in front of it.
type AdminAPI struct {
	logger *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.stepgate", New: func() caddy.Module { return new(AdminAPI) }}
}

// Provision implements [caddy.Provisioner].
func (a *AdminAPI) Provision(ctx caddy.Context) error {
	a.logger = ctx.Logger(a)
	return nil
}

// adminBase is where the API is.
const adminBase = "/stepgate/"

// Routes implements [caddy.AdminRouter].
func (a *AdminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminBase, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

// adminHeader is on each answer, with the version of the API: so the commands know that it was a gateway that took their
// word, and not whatever else listens there.
const adminHeader = "Stepgate-Admin"

// adminTimeout is how long one request may take. A change that was begun is not given up because its client went away.
const adminTimeout = 30 * time.Second

// The numbers of users in one answer.
const (
	defaultPage = 100
	maxPage     = 1000
)

// endpoint is one thing that the API does. In its path, "*" stands for a value.
type endpoint struct {
	method, path string
	query        []string // parameters it knows, beside rp_id
	do           func(ctx context.Context, on *administrator, values []string, query url.Values) (any, error)
}

var endpoints = []endpoint{
	{"GET", "users", []string{"after", "limit"}, func(ctx context.Context, on *administrator, _ []string, query url.Values) (any, error) {
		limit := defaultPage
		if query.Has("limit") {
			var err error
			if limit, err = strconv.Atoi(query.Get("limit")); err != nil || limit < 1 || limit > maxPage {
				return nil, fmt.Errorf("%w: limit must be a number from 1 to %d", passkey.BodyMalformed, maxPage)
			}
		}
		return on.page(ctx, query.Get("after"), limit)
	}},
	{"GET", "users/*", nil, func(ctx context.Context, on *administrator, values []string, _ url.Values) (any, error) {
		return on.stored(ctx, values[0])
	}},
	{"DELETE", "users/*", []string{"tag"}, func(ctx context.Context, on *administrator, values []string, query url.Values) (any, error) {
		if query.Has("tag") && query.Get("tag") == "" {
			return nil, fmt.Errorf("%w: tag is empty", passkey.BodyMalformed) // it was meant to hold somebody back
		}
		return on.erase(ctx, values[0], query.Get("tag"))
	}},
	{"DELETE", "users/*/passkeys/*", nil, func(ctx context.Context, on *administrator, values []string, _ url.Values) (any, error) {
		return on.remove(ctx, values[0], values[1])
	}},
	{"POST", "users/*/revoke", nil, func(ctx context.Context, on *administrator, values []string, _ url.Values) (any, error) {
		return revokedRecord{values[0], true}, on.revoke(ctx, values[0])
	}},
	{"POST", "users/*/reset", nil, func(ctx context.Context, on *administrator, values []string, _ url.Values) (any, error) {
		return on.reset(ctx, values[0])
	}},
	{"POST", "users/*/invite", []string{"for"}, func(ctx context.Context, on *administrator, values []string, query url.Values) (any, error) {
		lasts, err := caddy.ParseDuration(query.Get("for"))
		if err != nil {
			return nil, fmt.Errorf("%w: for must be a duration, for example 24h", passkey.BodyMalformed)
		}
		return on.invite(ctx, values[0], lasts)
	}},
}

// revokedRecord is the answer to a revocation.
type revokedRecord struct {
	User    string `json:"user"`
	Revoked bool   `json:"revoked"`
}

// problemRecord is the answer to what was not done. The code is one of docs/http.md.
type problemRecord struct {
	Code    passkey.Refusal `json:"code"`
	Message string          `json:"message"`
	Removed int             `json:"removed,omitempty"` // passkeys, before it was cut off
}

// adminStatus is the status of a refusal; 500 for any that is not here.
var adminStatus = map[passkey.Refusal]int{
	passkey.UserMissing: 400, passkey.UserInvalid: 400, passkey.BodyMalformed: 400, passkey.UserUnknown: 404, passkey.PasskeyUnknown: 404,
	passkey.NotFound: 404, passkey.MethodNotAllowed: 405, passkey.Conflict: 409, passkey.RelyingPartyMismatch: 409, passkey.StoreUnavailable: 503, passkey.AuditUnavailable: 503,
}

// adminMessages say what a refusal means to an administrator, where nothing more is known.
var adminMessages = map[passkey.Refusal]string{
	passkey.UserMissing:      "the user's name is empty",
	passkey.UserInvalid:      "no user has such a name: over 512 bytes, not UTF-8, or with control characters",
	passkey.UserUnknown:      "nobody ever registered a passkey for this user; names count byte for byte, and with fold_user they are in lower case",
	passkey.PasskeyUnknown:   "the user has no passkey with this id",
	passkey.Conflict:         "the user's record is being changed by others; try again",
	passkey.StoreUnavailable: "the store can't be read or written; the log says why",
}

// serve answers a request, also one that it refuses: Caddy's own form of an error has no code.
func (a *AdminAPI) serve(w http.ResponseWriter, r *http.Request) error {
	answer, err := a.answer(w, r)
	status := http.StatusOK
	if err != nil {
		var problem problemRecord
		status, problem = problemOf(err)
		if status >= 500 {
			a.logger.Error("administration failed", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Error(err))
		}
		answer = problem
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set(adminHeader, "1")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
	return nil
}

// problemOf returns what is answered when something was not done.
func problemOf(err error) (status int, problem problemRecord) {
	refusal := refusalIn(err)
	status, known := adminStatus[refusal]
	if !known {
		refusal, status = passkey.Internal, http.StatusInternalServerError
	}
	return status, problemRecord{refusal, adminMessage(refusal, err), removedBefore(err)}
}

// adminMessage is what an error says to an administrator: what was cut off, or else what its refusal means.
func adminMessage(refusal passkey.Refusal, err error) string {
	text := strings.TrimPrefix(err.Error(), string(refusal)+": ")
	if meaning, ok := adminMessages[refusal]; ok {
		if cut := new(cutOffError); errors.As(err, &cut) {
			return cut.Error() + ": " + meaning
		}
		return meaning
	}
	return text
}

func (a *AdminAPI) answer(w http.ResponseWriter, r *http.Request) (any, error) {
	client, _, _ := net.SplitHostPort(r.RemoteAddr) // none on a Unix socket
	at, values, err := find(w, r)
	if err != nil {
		return nil, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("%w: the query can't be read", passkey.BodyMalformed)
	}
	for name, given := range query {
		if !at.knows(name) || len(given) != 1 {
			return nil, fmt.Errorf("%w: the query parameter %q is unknown here or repeated", passkey.BodyMalformed, name)
		}
	}
	if n, _ := io.ReadFull(http.MaxBytesReader(w, r.Body, 1), make([]byte, 1)); n > 0 {
		return nil, fmt.Errorf("%w: a body is not expected here", passkey.BodyMalformed)
	}
	app, err := runningApp()
	if err != nil {
		return nil, err
	}
	if want := query.Get("rp_id"); want != "" && want != app.RPID {
		return nil, fmt.Errorf("%w: the running gateway is of the relying party %s, not %s", passkey.RelyingPartyMismatch, app.RPID, plain(want))
	}
	on, err := app.administration(client)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), adminTimeout)
	defer cancel()
	return at.do(ctx, on, values, query)
}

func (e endpoint) knows(parameter string) bool {
	for _, name := range e.query {
		if name == parameter {
			return true
		}
	}
	return parameter == "rp_id"
}

// find returns the endpoint that a request is for, and the values in its path. Segments are taken apart before they are
// decoded: a name may hold a slash.
func find(w http.ResponseWriter, r *http.Request) (endpoint, []string, error) {
	given := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), adminBase), "/")
	var allowed []string
	for _, e := range endpoints {
		values, ok := match(strings.Split(e.path, "/"), given)
		switch {
		case !ok:
		case e.method == r.Method:
			return e, values, nil
		default:
			allowed = append(allowed, e.method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return endpoint{}, nil, fmt.Errorf("%w: use %s", passkey.MethodNotAllowed, strings.Join(allowed, " or "))
	}
	return endpoint{}, nil, fmt.Errorf("%w: nothing is at this path", passkey.NotFound)
}

func match(path, given []string) (values []string, ok bool) {
	if len(path) != len(given) {
		return nil, false
	}
	for i, segment := range path {
		if segment == "*" {
			value, err := url.PathUnescape(given[i])
			if err != nil {
				return nil, false
			}
			values = append(values, value)
		} else if segment != given[i] {
			return nil, false
		}
	}
	return values, true
}

// runningApp returns the app of the configuration that is in force. The admin endpoint's own context is no help: Caddy
// makes an endpoint for each configuration before it knows whether that one will start, and keeps it when it does not.
func runningApp() (*App, error) {
	module, err := caddy.ActiveContext().AppIfConfigured("stepgate")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, fmt.Errorf("%w: the running configuration does not configure stepgate", passkey.NotFound)
	}
	if err != nil {
		return nil, err
	}
	return module.(*App), nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminAPI)(nil)
	_ caddy.Provisioner = (*AdminAPI)(nil)
)
