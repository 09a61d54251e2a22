package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"github.com/stepgate/stepgate/internal/authtest"
)

// person is who uses a gateway on 127.0.0.1: a browser without pages, with a software authenticator.
type person struct {
	origin string      // http://localhost:PORT
	sent   http.Header // with every request: what a first factor says, for example
	http   *http.Client
	key    *authtest.Authenticator
}

func newPerson(origin string) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
	return &person{origin: origin, key: authtest.New(authtest.Config{}),
		http: &http.Client{Jar: jar, Timeout: patience, Transport: &http.Transport{DialContext: dial}}}, nil
}

// post sends what the gateway's pages send, and returns the answer's body. Another status than the wanted one is an error.
func (p *person) post(ctx context.Context, path string, body any, status int) ([]byte, error) {
	sent, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.origin+path, bytes.NewReader(sent))
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, p.sent)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Origin", p.origin)
	answer, err := p.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != status {
		err = fmt.Errorf("POST %s: status %d, want %d: %s", path, answer.StatusCode, status, got)
	}
	return got, err
}

// register makes the person's first passkey.
func (p *person) register(ctx context.Context) error {
	options, err := p.post(ctx, "/.stepgate/passkeys/options", map[string]any{"name": "Key"}, 200)
	if err != nil {
		return err
	}
	credential, err := p.key.Register(options, p.origin)
	if err != nil {
		return err
	}
	_, err = p.post(ctx, "/.stepgate/passkeys", map[string]any{"credential": json.RawMessage(credential), "name": "Key"}, 201)
	return err
}

// stepUp uses the passkey for what a path demands, and returns the grant's cookie, `name=value`.
func (p *person) stepUp(ctx context.Context, path string) (string, error) {
	options, err := p.post(ctx, "/.stepgate/challenge/options", map[string]any{"return_to": path}, 200)
	if err != nil {
		return "", err
	}
	credential, err := p.key.Authenticate(options, p.origin)
	if err != nil {
		return "", err
	}
	if _, err := p.post(ctx, "/.stepgate/challenge/verify", map[string]any{"return_to": path, "credential": json.RawMessage(credential)}, 200); err != nil {
		return "", err
	}
	at, err := url.Parse(p.origin)
	if err != nil {
		return "", err
	}
	for _, cookie := range p.http.Jar.Cookies(at) {
		if strings.TrimPrefix(cookie.Name, "__Host-") == "stepgate" {
			return cookie.Name + "=" + cookie.Value, nil
		}
	}
	return "", fmt.Errorf("the step-up set no grant")
}
