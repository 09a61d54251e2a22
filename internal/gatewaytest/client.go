package gatewaytest

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

// Client speaks HTTP to a gateway, with a cookie jar and a software authenticator: a script, or a browser without pages.
type Client struct {
	T      testing.TB
	G      *Gateway
	User   string // sent as X-User
	Origin string
	HTTP   *http.Client
	Key    *authtest.Authenticator
}

// NewClient returns one for a user; "" sends no name. Whatever the origin's host, it connects to the gateway.
func NewClient(t testing.TB, g *Gateway, user string) *Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	Must(t, err)
	return &Client{
		T: t, G: g, User: user, Origin: g.URL, Key: authtest.New(authtest.Config{Counts: true}),
		HTTP: &http.Client{
			Transport: g.dialled(t), Jar: jar, Timeout: time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// dialled returns a transport that connects to this gateway, whoever it is asked for.
func (g *Gateway) dialled(t testing.TB) *http.Transport {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", g.Port))
		},
		TLSClientConfig:     &tls.Config{InsecureSkipVerify: true},
		MaxIdleConnsPerHost: 10,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// At returns the same client, with its cookies and passkeys, whose requests go to another gateway of the same origin.
func (c *Client) At(g *Gateway) *Client {
	other, speaker := *c, *c.HTTP
	speaker.Transport = g.dialled(c.T)
	other.G, other.HTTP = g, &speaker
	return &other
}

// Basic is the Authorization header of a user of [BasicAuth].
func Basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+Password))
}

// Reply is an answer, read to its end.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Get asks for a path, with further headers in pairs.
func (c *Client) Get(path string, headers ...string) Reply {
	c.T.Helper()
	answer, err := c.Send(http.MethodGet, path, nil, headers...)
	Must(c.T, err)
	return answer
}

// Post sends JSON as the gateway's own pages do.
func (c *Client) Post(path string, body any) Reply {
	c.T.Helper()
	answer, err := c.Send(http.MethodPost, path, body)
	Must(c.T, err)
	return answer
}

// Send is safe to call from any goroutine. A body makes it a request of the gateway's own pages.
func (c *Client) Send(method, path string, body any, headers ...string) (Reply, error) {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return Reply{}, err
		}
	}
	request, err := http.NewRequest(method, c.Origin+path, bytes.NewReader(text))
	if err != nil {
		return Reply{}, err
	}
	if c.User != "" {
		request.Header.Set("X-User", c.User)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", c.Origin)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return c.Do(request)
}

// Do sends a request as it is, with the client's cookies. It is safe to call from any goroutine.
func (c *Client) Do(request *http.Request) (Reply, error) {
	answer, err := c.HTTP.Do(request)
	if err != nil {
		return Reply{}, err
	}
	defer answer.Body.Close()
	for _, cookie := range answer.Cookies() {
		c.G.Log.Secret("cookie "+cookie.Name, cookie.Value)
	}
	content, err := io.ReadAll(answer.Body)
	return Reply{answer.StatusCode, answer.Header, content}, err
}

// Cookie returns a cookie that the answer sets, as a request sends it.
func (r Reply) Cookie(name string) string {
	for _, cookie := range (&http.Response{Header: r.Header}).Cookies() {
		if cookie.Name == name {
			return name + "=" + cookie.Value
		}
	}
	return ""
}

// Expect turns an answer with another status into an error.
func (r Reply) Expect(status int) error {
	if r.Status != status {
		return fmt.Errorf("status %d, want %d: %s", r.Status, status, r.Body)
	}
	return nil
}

// Step sends a body, wants a status, and returns the answer's text.
func (c *Client) Step(method, path string, body any, status int) ([]byte, error) {
	answer, err := c.Send(method, path, body)
	if err == nil {
		err = answer.Expect(status)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer.Body, nil
}

// Register gives the user their first passkey.
func (c *Client) Register(name string) error {
	body, err := c.BeginRegistration(c.Key, name, nil)
	if err != nil {
		return err
	}
	_, err = c.Step("POST", Account, body, 201)
	return err
}

// BeginRegistration lets an authenticator make a passkey, and returns the body that finishes its registration. The first
// one of a user needs no authorization.
func (c *Client) BeginRegistration(key *authtest.Authenticator, name string, authorization json.RawMessage, lies ...authtest.Lie) (map[string]any, error) {
	wish := map[string]any{"name": name}
	if authorization != nil {
		wish["authorization"] = authorization
	}
	options, err := c.Step("POST", Account+"/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := key.Register(options, c.Origin, lies...)
	if err != nil {
		return nil, err
	}
	c.Confide(options, credential)
	return map[string]any{"credential": RawJSON(credential), "name": name}, nil
}

// Authorize uses the passkey for adding a passkey (id is "" then) or removing one, and returns its answer.
func (c *Client) Authorize(action, id string, lies ...authtest.Lie) (json.RawMessage, error) {
	wish := map[string]any{"action": action}
	if id != "" {
		wish["id"] = id
	}
	options, err := c.Step("POST", Account+"/authorize/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := c.Key.Authenticate(options, c.Origin, lies...)
	if err != nil {
		return nil, err
	}
	c.Confide(options, credential)
	return credential, nil
}

// StepUp uses the passkey for the demand that a path has.
func (c *Client) StepUp(path string, lies ...authtest.Lie) (Reply, error) {
	body, err := c.Begin(map[string]any{"return_to": path}, lies...)
	if err != nil {
		return Reply{}, err
	}
	return c.Finish(body)
}

// Begin uses the passkey for a wish, which names a demand or a path, and returns the body that finishes the step-up.
func (c *Client) Begin(wish map[string]any, lies ...authtest.Lie) (map[string]any, error) {
	options, err := c.Step("POST", "/.stepgate/challenge/options", wish, 200)
	if err != nil {
		return nil, err
	}
	credential, err := c.Key.Authenticate(options, c.Origin, lies...)
	if err != nil {
		return nil, err
	}
	c.Confide(options, credential)
	body := maps.Clone(wish)
	body["credential"] = RawJSON(credential)
	return body, nil
}

func (c *Client) Finish(body map[string]any) (Reply, error) {
	return c.Send("POST", "/.stepgate/challenge/verify", body)
}

// Passkeys returns the ids of the user's passkeys by name.
func (c *Client) Passkeys() (map[string]string, error) {
	answer, err := c.Send("GET", Account, nil, "Accept", "application/json")
	if err == nil {
		err = answer.Expect(200)
	}
	if err != nil {
		return nil, err
	}
	var list struct{ Passkeys []struct{ ID, Name string } }
	err = json.Unmarshal(answer.Body, &list)
	ids := map[string]string{}
	for _, p := range list.Passkeys {
		ids[p.Name] = p.ID
	}
	return ids, err
}

// Grants reports whether the answer sets a grant.
func (r Reply) Grants() bool {
	for _, name := range []string{"stepgate", "__Host-stepgate"} {
		if cookie := r.Cookie(name); cookie != "" && cookie != name+"=" { // that clears it
			return true
		}
	}
	return false
}

// Refused turns any answer but this refusal into an error. One that sets a grant is none.
func (r Reply) Refused(status int, code string) error {
	var got Problem
	_ = json.Unmarshal(r.Body, &got)
	if r.Status != status || got.Code != code && got.Reason != code || r.Grants() {
		return fmt.Errorf("status %d, code %q, reason %q, cookies %v; want %d %s and no grant", r.Status, got.Code, got.Reason, r.Header["Set-Cookie"], status, code)
	}
	return nil
}

// Confide tells the logbook what no log line may hold.
func (c *Client) Confide(options, credential []byte) {
	var texts struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
		} `json:"publicKey"`
		Response map[string]any `json:"response"`
	}
	if json.Unmarshal(options, &texts) == nil {
		c.G.Log.Secret("challenge", texts.PublicKey.Challenge)
	}
	if json.Unmarshal(credential, &texts) == nil {
		for name, value := range texts.Response {
			if text, ok := value.(string); ok {
				c.G.Log.Secret(name, text)
			}
		}
	}
}

func RawJSON(text []byte) json.RawMessage { return json.RawMessage(text) }
