package caddymodule_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
)

// browser is one person's browser, with one passkey: it keeps cookies, and adds what the first factor would say.
type browser struct {
	t       testing.TB
	g       *gateway
	client  *http.Client
	origin  string
	page    string // the origin of its pages, if not the same
	prefix  string
	headers http.Header // on every request
	cookies map[string]string
	key     *authtest.Authenticator
}

// browser returns a browser on http://localhost:$PORT.
func (g *gateway) browser(user string) *browser {
	transport := &http.Transport{
		// New connections each time: a reload closes idle ones under our feet.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", g.port))
		},
	}
	g.t.Cleanup(transport.CloseIdleConnections)
	b := &browser{
		t: g.t, g: g, prefix: "/.stepgate", origin: fmt.Sprintf("http://localhost:%d", g.port), headers: http.Header{},
		cookies: map[string]string{}, key: authtest.New(authtest.Config{Seed: user}),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	if user != "" {
		b.headers.Set("X-User", user)
	}
	return b
}

// registerAt registers and steps up in a browser whose pages come from another origin than the one that is dialled:
// TLS ends in front of the gateway.
func (b *browser) registerAt(origin string) {
	b.t.Helper()
	b.page = origin
	b.register()
	b.stepUp("/")
}

// reply is an answer, read to its end.
type reply struct {
	*http.Response
	body string
}

// code returns the code of a problem.
func (r reply) code() string {
	var problem struct{ Code, Reason string }
	_ = json.Unmarshal([]byte(r.body), &problem)
	return strings.TrimSuffix(problem.Code+"/"+problem.Reason, "/")
}

// request makes a request with the browser's cookies. changes are applied last.
func (b *browser) request(method, target, body string, changes ...func(*http.Request)) *http.Request {
	b.t.Helper()
	r, err := http.NewRequest(method, b.origin+target, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	r.Header = b.headers.Clone()
	for name, value := range b.cookies {
		r.Header.Add("Cookie", name+"="+value)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, change := range changes {
		change(r)
	}
	return r
}

// do sends a request.
func (b *browser) do(method, target, body string, changes ...func(*http.Request)) reply {
	b.t.Helper()
	return b.send(b.request(method, target, body, changes...))
}

func (b *browser) send(r *http.Request) reply {
	b.t.Helper()
	response, err := b.client.Do(r)
	for range 5 {
		if err == nil {
			break
		}
		// On Linux Caddy has a listener for each configuration on one port; what still waits at the old one when it
		// closes is reset, unread.
		if r.GetBody != nil {
			r.Body, _ = r.GetBody()
		}
		response, err = b.client.Do(r)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, response.Body); err != nil {
		b.t.Fatal(err)
	}
	for _, c := range response.Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return reply{response, body.String()}
}

func (b *browser) get(target string, changes ...func(*http.Request)) reply {
	b.t.Helper()
	return b.do("GET", target, "", changes...)
}

// want sends a GET and holds the answer to a status and, for a refusal, a code.
func (b *browser) want(target string, status int, code string, changes ...func(*http.Request)) reply {
	b.t.Helper()
	answer := b.get(target, changes...)
	answer.want(b.t, status, code)
	return answer
}

func (r reply) want(t testing.TB, status int, code string) {
	t.Helper()
	if r.StatusCode != status || r.code() != code {
		t.Errorf("%s %s: %d %s, want %d %s\n%s", r.Request.Method, r.Request.URL, r.StatusCode, r.code(), status, code, r.body)
	}
}

// register registers the browser's passkey: the first on the first factor alone.
func (b *browser) register() {
	b.t.Helper()
	options := b.api("POST", "/passkeys/options", `{"name": "key"}`, http.StatusOK)
	credential, err := b.key.Register([]byte(options), cmp.Or(b.page, b.origin))
	if err != nil {
		b.t.Fatal(err)
	}
	b.api("POST", "/passkeys", fmt.Sprintf(`{"name": "key", "credential": %s}`, credential), http.StatusCreated)
}

// stepUp gets a grant for a path, and returns where the gateway sends the person then.
func (b *browser) stepUp(path string) string {
	b.t.Helper()
	return b.confirm(fmt.Sprintf(`"return_to": %q`, path))
}

// follow steps up on the challenge page that a navigation was sent to, and returns where the gateway sends the person
// then.
func (b *browser) follow(answer reply) string {
	b.t.Helper()
	location, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || location.Path != b.prefix+"/challenge" {
		b.t.Fatalf("%d, Location %q", answer.StatusCode, answer.Header.Get("Location"))
	}
	b.want(location.RequestURI(), 200, "", navigating)
	return b.confirm(fmt.Sprintf(`"demand": %q`, location.Query().Get("demand")))
}

func (b *browser) confirm(what string) string {
	b.t.Helper()
	options := b.api("POST", "/challenge/options", "{"+what+"}", http.StatusOK)
	credential, err := b.key.Authenticate([]byte(options), cmp.Or(b.page, b.origin))
	if err != nil {
		b.t.Fatal(err)
	}
	var answer struct {
		ReturnTo string `json:"return_to"`
	}
	done := b.api("POST", "/challenge/verify", fmt.Sprintf(`{%s, "credential": %s}`, what, credential), http.StatusOK)
	if err := json.Unmarshal([]byte(done), &answer); err != nil {
		b.t.Fatal(err)
	}
	return answer.ReturnTo
}

// enrolled returns a user's browser with a passkey and a fresh grant.
func (g *gateway) enrolled(user string) *browser {
	g.t.Helper()
	b := g.browser(user)
	b.register()
	b.stepUp("/")
	return b
}

// api calls the gateway's own API.
func (b *browser) api(method, path, body string, status int) string {
	b.t.Helper()
	answer := b.do(method, b.prefix+path, body)
	if answer.StatusCode != status {
		b.t.Fatalf("%s %s: %d, want %d\n%s", method, path, answer.StatusCode, status, answer.body)
	}
	return answer.body
}

// with sets a header.
func with(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[http.CanonicalHeaderKey(name)] = values }
}

// navigating makes a request what a browser sends when a person follows a link.
func navigating(r *http.Request) {
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
}

// withHost sets the Host of a request.
func withHost(host string) func(*http.Request) {
	return func(r *http.Request) { r.Host = host }
}
