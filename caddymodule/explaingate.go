package caddymodule

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// newStandIn returns what a gate needs to answer requests that carry no grant: keys to seal demands with, and a store in
// which somebody has a passkey or not. Nothing else of it is ever called.
func newStandIn(key, rpID string, enrolled func() bool) (*gate.Backend, error) {
	keys, err := grant.ParseKeys(key)
	if err != nil {
		return nil, err
	}
	b := &gate.Backend{Ceremonies: standInCeremonies{enrolled: enrolled}, Limiter: gate.NewLimiter()}
	for _, sealer := range []struct {
		to      **grant.Sealer
		purpose grant.Purpose
	}{{&b.Grants, grant.ForGrant}, {&b.Demands, grant.ForDemand}, {&b.Browsers, grant.ForBrowser}} {
		if *sealer.to, err = keys.Sealer(sealer.purpose, rpID); err != nil {
			return nil, err
		}
	}
	b.Views = gate.NewViews(b.Ceremonies.Account, 0, gate.StoreBudget, time.Now)
	return b, nil
}

type standInCeremonies struct {
	gate.Ceremonies
	enrolled func() bool // whether the user is to have a passkey
}

// Account returns a user with one passkey, or without a record.
func (c standInCeremonies) Account(_ context.Context, user string) (passkey.Account, error) {
	account := passkey.Account{User: passkey.User{Name: user}}
	if c.enrolled() {
		account.User.Version = 1
		account.Passkeys = []passkey.Passkey{{ID: []byte("stand-in passkey")}}
	}
	return account, nil
}

// Reach returns what the passkey of the account reaches.
func (standInCeremonies) Reach(p passkey.Passkey) passkey.Level { return p.Reach() }

// enrolled answers whether the user of the run at hand has a passkey: it is a question where that decides.
func (s *settings) enrolled() bool {
	x := s.current
	return x != nil && !x.taken.Own && x.taken.Rule.ModeAt(time.Now()) == policy.IfEnrolled &&
		x.ask(question{key: "enrolled", text: "the user has a passkey"})
}

// plant puts a value where a source reads it, as the first factor would; "" takes it away.
func (s *source) plant(r *http.Request, replacer *caddy.Replacer, value string) {
	switch {
	case s.header != "":
		delete(r.Header, s.header)
		if value != "" {
			r.Header[s.header] = []string{value}
		}
	case s.cookie != "":
		delete(r.Header, "Cookie")
		if value != "" {
			r.Header["Cookie"] = []string{s.cookie + "=" + value}
		}
	case value == "" || s.key == "":
	case s.certificate:
		if r.TLS != nil {
			r.TLS.VerifiedChains = [][]*x509.Certificate{{new(x509.Certificate)}}
			replacer.Set(s.key, value)
		}
	default:
		replacer.Set(s.key, value)
	}
}

// meet lets the gate itself judge the request.
func (x *run) meet(h *handlerNode, next func()) {
	r := x.request
	if x.gate != nil { // as [Handler.ServeHTTP] has it
		x.twice = true
		if x.end.Result == resultPasses {
			x.end = ending{Result: resultRefused, Status: http.StatusInternalServerError, Code: string(passkey.Internal)}
		}
		return
	}
	h.gate.user.plant(r, x.replacer, x.user)
	session := ""
	if x.user != "" {
		session = "session"
	}
	h.gate.session.plant(r, x.replacer, session)
	x.gate, x.judged, x.verb = h, r.URL.Path, r.Method
	var err error
	if x.taken, err = h.gate.gate.Take(r, x.original); err != nil {
		x.answered("the gate, since a matcher fails: "+err.Error(), http.StatusInternalServerError, "")
		return
	}
	if x.open != nil {
		return
	}
	passed := false
	recorder := newReply()
	_ = h.gate.ServeHTTP(recorder, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		passed = true
		x.request = r
		return nil
	}))
	x.trail = append(x.trail, met{node: h, kind: "gate"})
	if x.open != nil {
		return
	}
	if !passed {
		x.end = x.read(recorder)
		if x.end.Result != resultChallenge && x.end.Result != resultStepUp {
			return
		}
	} else {
		x.end = ending{Result: resultPasses}
		x.end.Would, _ = x.replacer.GetString("http.stepgate.would")
	}
	// Who answers behind the gate, now or after a step-up.
	x.after = true
	next()
	x.after = false
	if x.end.Result == resultPasses {
		x.end.By = x.behind
	}
}

// reply takes what a handler answers.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newReply() *reply { return &reply{header: http.Header{}} }

// Header implements [http.ResponseWriter].
func (r *reply) Header() http.Header { return r.header }

// WriteHeader implements [http.ResponseWriter].
func (r *reply) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write implements [http.ResponseWriter].
func (r *reply) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

var supportCode = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`Code for support: <code>([a-z0-9_]+)</code>`)
})

// needsBody are the refusals of a request to the gateway's own API that a request with the body that it takes does not get.
var needsBody = map[string]bool{string(passkey.MediaType): true, string(passkey.CrossSite): true, string(passkey.BodyMalformed): true}

// read makes an ending of the gate's answer.
func (x *run) read(given *reply) ending {
	var problem struct{ Code, Reason, Detail string }
	body := given.body.String()
	if json.Unmarshal([]byte(body), &problem) != nil {
		if found := supportCode().FindStringSubmatch(body); found != nil {
			problem.Code = found[1]
		}
	}
	location := given.header.Get("Location")
	e := ending{Status: given.status, Code: problem.Code, Reason: problem.Reason}
	page := orDefault(x.gate.gate.Path, gate.DefaultPath) + "/challenge"
	switch {
	case x.taken.Own && needsBody[e.Code]:
		return ending{Result: resultOwn, Hint: "It takes JSON from the gateway's own pages and scripts."}
	case given.status == http.StatusSeeOther && strings.HasPrefix(location, page+"?demand="):
		e.Result, e.Location = resultChallenge, page
	case e.Code == string(passkey.StepUpRequired):
		e.Result = resultStepUp
	case x.taken.Own && given.status < 400:
		e.Result, e.Location = resultOwn, location
	default:
		e.Result = resultRefused
	}
	if _, line, found := strings.Cut(problem.Detail, "`"); found && e.Code == string(passkey.OriginUnknown) {
		e.Hint, _, _ = strings.Cut(line, "`")
	}
	return e
}
