package attacktest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// sessionHolder is a holder on the host that binds to first-factor sessions.
func (s *scene) sessionHolder(name, session string) *client {
	s.Helper()
	c := inSession(s.visitor(name), session)
	c.Origin = s.origin(sessionHost)
	gatewaytest.Must(s, c.Register("Key"))
	return c
}

// inSession is the same browser in another first-factor session.
func inSession(c *client, session string) *client {
	other, speaker := *c, *c.HTTP
	transport := speaker.Transport
	if t, ok := transport.(sessioned); ok {
		transport = t.RoundTripper
	}
	speaker.Transport = sessioned{session, transport}
	other.HTTP = &speaker
	return &other
}

type sessioned struct {
	session string
	http.RoundTripper
}

func (t sessioned) RoundTrip(r *http.Request) (*http.Response, error) {
	if t.session != "" {
		r = r.Clone(r.Context())
		r.Header.Set("X-Session", t.session)
	}
	return t.RoundTripper.RoundTrip(r)
}

// twoKeys is somebody with two passkeys, Key and USB, and one authenticator with each.
func (s *scene) twoKeys(name string) (key, usb *client) {
	s.Helper()
	key = s.holder(name)
	usb = s.sibling(key)
	usb.Key = authtest.New(authtest.Config{Counts: true})
	authorization, err := key.Authorize("add", "")
	gatewaytest.Must(s, err)
	body, err := key.BeginRegistration(usb.Key, "USB", authorization)
	gatewaytest.Must(s, err)
	gatewaytest.Must(s, s.sent(key, "POST", gatewaytest.Account, body).Expect(201))
	return key, usb
}

// passkey is the path of a passkey by its name.
func (s *scene) passkey(c *client, name string) string {
	s.Helper()
	ids, err := c.Passkeys()
	gatewaytest.Must(s, err)
	if ids[name] == "" {
		s.Fatalf("%s has no passkey %s, but %v", c.User, name, ids)
	}
	return gatewaytest.Account + "/" + ids[name]
}

// removes removes a passkey by its name.
func (s *scene) removes(c *client, name string) {
	s.Helper()
	path := s.passkey(c, name)
	authorization, err := c.Authorize("remove", strings.TrimPrefix(path, gatewaytest.Account+"/"))
	gatewaytest.Must(s, err)
	gatewaytest.Must(s, s.sent(c, "DELETE", path, map[string]any{"authorization": authorization, "last": true}).Expect(204))
}

// addingAndRemovingWork is a control.
func addingAndRemovingWork(s *scene) {
	_, second := s.twoKeys("carol")
	s.removes(second, "Key")
	s.stepsUp(second, "/keys")
}

// cookies are the client's for its origin, as a request sends them.
func (s *scene) cookies(c *client) map[string]string {
	at, err := url.Parse(c.Origin)
	gatewaytest.Must(s, err)
	all := map[string]string{}
	for _, cookie := range c.HTTP.Jar.Cookies(at) {
		all[cookie.Name] = cookie.Value
	}
	return all
}

func (s *scene) ceremonyCookie(c *client) string {
	return "__Host-stepgate-ceremony=" + s.cookies(c)["__Host-stepgate-ceremony"]
}

// tampered is a reply whose signature is another one.
func tampered(s *scene, credential any) any {
	text, err := json.Marshal(credential)
	gatewaytest.Must(s, err)
	var c map[string]any
	gatewaytest.Must(s, json.Unmarshal(text, &c))
	response := c["response"].(map[string]any)
	signature := []byte(fmt.Sprint(response["signature"]))
	if signature[20] == 'A' {
		signature[20] = 'B'
	} else {
		signature[20] = 'A'
	}
	response["signature"] = string(signature)
	return c
}

// demand is the sealed demand for a path.
func (s *scene) demand(c *client, path string) string {
	s.Helper()
	answer := s.sent(s.sibling(c), "GET", path, nil)
	page, err := url.Parse(gatewaytest.ProblemIn(s, answer.Body).StepUpURL)
	gatewaytest.Must(s, err)
	demand := page.Query().Get("demand")
	if demand == "" {
		s.Fatalf("no demand in %s", answer.Body)
	}
	return demand
}

// administers runs a command of an administrator's beside the gateway.
func (s *scene) administers(arguments ...string) {
	s.Helper()
	if out, code := s.g.Call(arguments...); code != 0 {
		s.Fatalf("%v: exit code %d: %s", arguments, code, out)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// plainly is the same client, who speaks plain HTTP to another port and names the host of its https origin.
func plainly(c *client, port int) *client {
	other := *c
	other.Origin = "http" + strings.TrimPrefix(c.Origin, "https")
	other.HTTP = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	}}}
	return &other
}
