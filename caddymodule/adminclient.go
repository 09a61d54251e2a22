package caddymodule

import (
	"bytes"
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

	"github.com/stepgate/stepgate/internal/passkey"
)

// adminClient is an administration through the admin API of a running gateway. It is Caddy's own client but that it can be
// interrupted, ends by itself, keeps its connections, and reads the codes of refusals.
type adminClient struct {
	http    *http.Client
	base    string // URL of the admin endpoint
	origin  string // header; "" on sockets
	address string // for people
	rpID    string // which relying party the gateway must be of; "" takes any
}

// maxAnswer bounds what is read of an answer: a thousand users with a hundred passkeys each are some 40 MB.
const maxAnswer = 64 << 20

// newAdminClient returns one for a network address as Caddy writes them. It connects to nobody.
func newAdminClient(address, rpID string) (*adminClient, error) {
	resolved, err := caddy.NewReplacer().ReplaceOrErr(address, true, true)
	if err != nil {
		return nil, fmt.Errorf("address of the admin API: %w", err)
	}
	parsed, err := caddy.ParseNetworkAddress(resolved)
	if err != nil || parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("%q is no address of an admin API: use host:port, or unix//path", resolved)
	}
	c := &adminClient{base: "http://" + parsed.JoinHostPort(0), address: resolved, rpID: rpID}
	c.origin = c.base
	dial := parsed.JoinHostPort(0)
	switch {
	case parsed.IsUnixNetwork():
		dial, _, _ = strings.Cut(parsed.Host, "|") // permissions of the socket
		c.base, c.origin = "http://127.0.0.1", ""
	case parsed.StartPort == 0:
		return nil, fmt.Errorf("%q is no address of an admin API: it has no port", resolved)
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, parsed.Network, dial)
			},
			MaxIdleConnsPerHost: lookups,
		},
		Timeout:       2 * adminTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// pageLength is how many users are asked for at once: few enough for a slow store to read in time.
const pageLength = 250

func (c *adminClient) each(ctx context.Context, yield func(userRecord) error) error {
	query := url.Values{"limit": {strconv.Itoa(pageLength)}}
	for {
		var page userPage
		if err := c.call(ctx, http.MethodGet, "users", query, &page); err != nil {
			return err
		}
		for _, user := range page.Users {
			if err := yield(user); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("after", page.Next)
	}
}

func (c *adminClient) user(ctx context.Context, name string) (user userRecord, err error) {
	if err = c.call(ctx, http.MethodGet, "users/"+segment(name), url.Values{}, &user); err != nil {
		return userRecord{}, err
	}
	return user.known()
}

func (c *adminClient) stored(ctx context.Context, name string) (stored storedRecord, err error) {
	err = c.call(ctx, http.MethodGet, "users/"+segment(name), url.Values{}, &stored)
	return stored, err
}

func (c *adminClient) remove(ctx context.Context, name, id string) (removed passkeyRecord, err error) {
	err = c.call(ctx, http.MethodDelete, "users/"+segment(name)+"/passkeys/"+segment(id), url.Values{}, &removed)
	return removed, err
}

func (c *adminClient) revoke(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, "users/"+segment(name)+"/revoke", url.Values{}, new(revokedRecord))
}

func (c *adminClient) reset(ctx context.Context, name string) (done resetRecord, err error) {
	err = c.call(ctx, http.MethodPost, "users/"+segment(name)+"/reset", url.Values{}, &done)
	return done, err
}

func (c *adminClient) erase(ctx context.Context, name, tag string) (done resetRecord, err error) {
	query := url.Values{}
	if tag != "" {
		query.Set("tag", tag)
	}
	err = c.call(ctx, http.MethodDelete, "users/"+segment(name), query, &done)
	return done, err
}

func (c *adminClient) invite(ctx context.Context, name string, lasts time.Duration) (invitation invitationRecord, err error) {
	err = c.call(ctx, http.MethodPost, "users/"+segment(name)+"/invite", url.Values{"for": {lasts.String()}}, &invitation)
	return invitation, err
}

// errMaybe is the end of a change that was interrupted: a gateway does not give up what it has begun.
var errMaybe = errors.New("interrupted; the gateway may have done it all the same")

// segment encodes a value as one segment of a path, such that nobody on the way takes it for a dot segment.
func segment(value string) string {
	return strings.ReplaceAll(url.PathEscape(value), ".", "%2E")
}

func (c *adminClient) call(ctx context.Context, method, path string, query url.Values, into any) error {
	if c.rpID != "" {
		query.Set("rp_id", c.rpID)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+adminBase+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if c.origin != "" {
		r.Header.Set("Origin", c.origin)
	}
	answer, err := c.http.Do(r)
	var dial *net.OpError
	switch {
	case err != nil && ctx.Err() != nil && method != http.MethodGet:
		return errMaybe
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &dial) && dial.Op == "dial":
		return fmt.Errorf("nothing answers at the admin API %s: the gateway is not running, its admin API is off, or it is elsewhere, which --address says (%w)", plain(c.address), dial.Err)
	case err != nil && method != http.MethodGet:
		return fmt.Errorf("asking the gateway at %s, which may have done it all the same: %w", plain(c.address), err)
	case err != nil:
		return fmt.Errorf("asking the gateway at %s: %w", plain(c.address), err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	ours := answer.Header.Get(adminHeader) == "1"
	switch {
	case err != nil:
	case ours && answer.StatusCode == http.StatusOK:
		err = json.Unmarshal(text, into)
	case ours:
		return gatewayErrorIn(text)
	case answer.StatusCode == http.StatusOK, answer.StatusCode == http.StatusNotFound:
		return fmt.Errorf("what answers at %s is no gateway with this command's API: another program, or another version", plain(c.address))
	default:
		return c.refused(answer.StatusCode, text)
	}
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", plain(c.address), err)
	}
	return nil
}

// refused makes an error of an answer of Caddy's own, or of somebody else's. What it says is not trusted with the terminal.
func (c *adminClient) refused(status int, text []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(text, &said) != nil {
		said.Error = string(bytes.TrimSpace(text[:min(len(text), 200)]))
	}
	return fmt.Errorf("the admin API at %s refuses: status %d: %s", plain(c.address), status, plainText(said.Error))
}

// gatewayErrorIn makes an error of a gateway's.
func gatewayErrorIn(text []byte) error {
	var problem problemRecord
	if err := json.Unmarshal(text, &problem); err != nil {
		return fmt.Errorf("reading the gateway's error: %w", err)
	}
	return &gatewayError{plainText(problem.Message), problem.Code, problem.Removed}
}

// gatewayError is what a gateway says, with its code.
type gatewayError struct {
	message string
	code    passkey.Refusal
	removed int
}

func (e *gatewayError) Error() string { return e.message }

// Unwrap returns the refusal.
func (e *gatewayError) Unwrap() error { return e.code }
