package e2etest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/authtest"
)

// client speaks HTTP to a gateway, with a cookie jar and a software authenticator: a script, or a browser without pages.
type client struct {
	t      testing.TB
	g      *gateway
	user   string // sent as X-User
	origin string
	http   *http.Client
	key    *authtest.Authenticator
}

// newClient returns one for a user; "" sends no name. Whatever the origin's host, it connects to the gateway.
func newClient(t testing.TB, g *gateway, user string) *client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &client{
		t: t, g: g, user: user, origin: g.url, key: authtest.New(authtest.Config{Counts: true}),
		http: &http.Client{
			Transport: g.dialled(t), Jar: jar, Timeout: time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// dialled returns a transport that connects to this gateway, whoever it is asked for.
func (g *gateway) dialled(t testing.TB) *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
		},
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 10,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// at returns the same client, with its cookies and passkeys, whose requests go to another gateway of the same origin.
func (c *client) at(g *gateway) *client {
	other, speaker := *c, *c.http
	speaker.Transport = g.dialled(c.t)
	other.g, other.http = g, &speaker
	return &other
}

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// get asks for a path, with further headers in pairs.
func (c *client) get(path string, headers ...string) reply {
	c.t.Helper()
	answer, err := c.send(http.MethodGet, path, nil, headers...)
	must(c.t, err)
	return answer
}

// post sends JSON as the gateway's own pages do.
func (c *client) post(path string, body any) reply {
	c.t.Helper()
	answer, err := c.send(http.MethodPost, path, body)
	must(c.t, err)
	return answer
}

// send is safe to call from any goroutine. A body makes it a request of the gateway's own pages.
func (c *client) send(method, path string, body any, headers ...string) (reply, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return reply{}, err
		}
	}
	request, err := http.NewRequest(method, c.origin+path, bytes.NewReader(text))
	if err != nil {
		return reply{}, err
	}
	if c.user != "" {
		request.Header.Set("X-User", c.user)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", c.origin)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := c.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	for _, cookie := range answer.Cookies() {
		c.g.log.secret("cookie "+cookie.Name, cookie.Value)
	}
	content, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, content}, err
}

// cookie returns a cookie that the answer sets, as a request sends it.
func (r reply) cookie(name string) string {
	for _, cookie := range (&http.Response{Header: r.header}).Cookies() {
		if cookie.Name == name {
			return name + "=" + cookie.Value
		}
	}
	return ""
}

// expect turns an answer with another status into an error.
func (r reply) expect(status int) error {
	if r.status != status {
		return fmt.Errorf("status %d, want %d: %s", r.status, status, r.body)
	}
	return nil
}

// step sends a body, wants a status, and returns the answer's text.
func (c *client) step(method, path string, body any, status int) ([]byte, error) {
	answer, err := c.send(method, path, body)
	if err == nil {
		err = answer.expect(status)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer.body, nil
}

// register gives the user their first passkey.
func (c *client) register(name string) error {
	body, err := c.beginRegistration(c.key, name, nil)
	if err != nil {
		return err
	}
	_, err = c.step("POST", account, body, 201)
	return err
}

// beginRegistration lets an authenticator make a passkey, and returns the body that finishes its registration. The first
// one of a user needs no authorization.
func (c *client) beginRegistration(key *authtest.Authenticator, name string, authorization json.RawMessage) (map[string]any, error) {
	wish := map[string]any{"name": name}
	if authorization != nil {
		wish["authorization"] = authorization
	}
	options, err := c.step("POST", account+"/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := key.Register(options, c.origin)
	if err != nil {
		return nil, err
	}
	c.confide(options, credential)
	return map[string]any{"credential": rawJSON(credential), "name": name}, nil
}

// authorize uses the passkey for adding a passkey (id is "" then) or removing one, and returns its answer.
func (c *client) authorize(action, id string) (json.RawMessage, error) {
	wish := map[string]any{"action": action}
	if id != "" {
		wish["id"] = id
	}
	options, err := c.step("POST", account+"/authorize/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := c.key.Authenticate(options, c.origin)
	if err != nil {
		return nil, err
	}
	c.confide(options, credential)
	return credential, nil
}

// stepUp uses the passkey for the demand that a path has.
func (c *client) stepUp(path string, lies ...authtest.Lie) (reply, error) {
	body, err := c.begin(map[string]any{"return_to": path}, lies...)
	if err != nil {
		return reply{}, err
	}
	return c.finish(body)
}

// begin uses the passkey for a wish, which names a demand or a path, and returns the body that finishes the step-up.
func (c *client) begin(wish map[string]any, lies ...authtest.Lie) (map[string]any, error) {
	options, err := c.step("POST", "/.stepgate/challenge/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := c.key.Authenticate(options, c.origin, lies...)
	if err != nil {
		return nil, err
	}
	c.confide(options, credential)
	body := maps.Clone(wish)
	body["credential"] = rawJSON(credential)
	return body, nil
}

func (c *client) finish(body map[string]any) (reply, error) {
	return c.send("POST", "/.stepgate/challenge/verify", body)
}

// passkeys returns the ids of the user's passkeys by name.
func (c *client) passkeys() (map[string]string, error) {
	answer, err := c.send("GET", account, nil, "Accept", "application/json")
	if err == nil {
		err = answer.expect(200)
	}
	if err != nil {
		return nil, err
	}
	var list struct{ Passkeys []struct{ ID, Name string } }
	err = json.Unmarshal(answer.body, &list)
	ids := map[string]string{}
	for _, p := range list.Passkeys {
		ids[p.Name] = p.ID
	}
	return ids, err
}

// grants reports whether the answer sets a grant.
func (r reply) grants() bool {
	for _, name := range []string{"stepgate", "__Host-stepgate"} {
		if cookie := r.cookie(name); cookie != "" && cookie != name+"=" { // that clears it
			return true
		}
	}
	return false
}

// refused turns any answer but this refusal into an error. One that sets a grant is none.
func (r reply) refused(status int, code string) error {
	var got problem
	_ = json.Unmarshal(r.body, &got)
	if r.status != status || got.Code != code && got.Reason != code || r.grants() {
		return fmt.Errorf("status %d, code %q, reason %q, cookies %v; want %d %s and no grant", r.status, got.Code, got.Reason, r.header["Set-Cookie"], status, code)
	}
	return nil
}

// confide tells the logbook what no log line may hold.
func (c *client) confide(options, credential []byte) {
	var texts struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
		} `json:"publicKey"`
		Response map[string]any `json:"response"`
	}
	if json.Unmarshal(options, &texts) == nil {
		c.g.log.secret("challenge", texts.PublicKey.Challenge)
	}
	if json.Unmarshal(credential, &texts) == nil {
		for name, value := range texts.Response {
			if text, ok := value.(string); ok {
				c.g.log.secret(name, text)
			}
		}
	}
}

func rawJSON(text []byte) json.RawMessage { return json.RawMessage(text) }
