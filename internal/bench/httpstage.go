package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	upstreamBody = "hello\n"
	measuredPath = "/console/x"
)

// stage is what the variants of a request through Caddy run on.
type stage struct {
	upstream    *server
	authorizers []*server
	caddy       *process
	variants    []*variant

	// by name
	bare, control, headers, open, protected, forward, forwardBody, hs256, es256 *variant
}

// variant is one site.
type variant struct {
	name       string
	kind       string // what is done to a request, for the page
	directives string // between the first factor and the proxy
	credential string // the cookie that it demands, `name=value`; "" demands none
	stepsUp    bool   // the upstream gets the name of a user whom Stepgate vouches for
	authorizer *server
	port       int
	cookie     string // of those that demand none: one as long as a grant
	rounds     []figures
}

func (v *variant) address() string { return fmt.Sprintf("127.0.0.1:%d", v.port) }
func (v *variant) origin() string  { return fmt.Sprintf("http://localhost:%d", v.port) }

// request is the request of every variant, with all that Chrome sends when a script of a console asks for something: only the
// host's port and the credential differ. A variant that demands none has a cookie of about the same length in its place, so
// that all parse as much.
func (v *variant) request(credential string) []byte {
	if v.credential == "" {
		credential = v.cookie
	}
	lines := []string{
		"GET " + measuredPath + " HTTP/1.1",
		"Host: localhost:" + fmt.Sprint(v.port),
		"Connection: keep-alive",
		`sec-ch-ua-platform: "Linux"`,
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		`sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24", "Google Chrome";v="140"`,
		"sec-ch-ua-mobile: ?0",
		"Accept: */*",
		"Sec-Fetch-Site: same-origin",
		"Sec-Fetch-Mode: cors",
		"Sec-Fetch-Dest: empty",
		"Referer: " + v.origin() + "/console/",
		"Accept-Encoding: gzip, deflate, br, zstd",
		"Accept-Language: en-US,en;q=0.9",
		"Cookie: theme=dark; sid=0123456789abcdef; " + credential + "; lang=en",
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// tenRules are those of the handler's own benchmark; the last one is another.
func tenRules(last string) string {
	var rules strings.Builder
	for _, letter := range "abcdefghi" {
		fmt.Fprintf(&rules, "\t\t\tprotect /%c/* {\n\t\t\t\tmax_age 1m\n\t\t\t}\n", letter)
	}
	return "\t\tstepgate {\n\t\t\tuser {header.X-User}\n\t\t\tmax_age 1h\n" + rules.String() + "\t\t\t" + last + "\n\t\t}\n"
}

// newStage starts the processes and steps up.
func newStage(ctx context.Context, l *lab) (s *stage, err error) {
	s = new(stage)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	binary, err := l.build(ctx, "caddymodule/benchcaddy")
	if err != nil {
		return s, err
	}
	if s.upstream, err = l.serve(ctx, "upstream", upstreamBody); err != nil {
		return s, err
	}
	for _, body := range []string{"", "ok\n"} {
		a, err := l.serve(ctx, "authorizer", body)
		if err != nil {
			return s, err
		}
		s.authorizers = append(s.authorizers, a)
	}
	if err := s.vary(); err != nil {
		return s, err
	}
	ports, err := freePorts(len(s.variants))
	if err != nil {
		return s, err
	}
	for i, v := range s.variants {
		v.port = ports[i]
	}
	if s.caddy, err = l.caddy(ctx, "caddy", binary, s.caddyfile(), ports...); err != nil {
		return s, err
	}
	alice, err := newPerson(s.protected.origin())
	if err != nil {
		return s, err
	}
	if err := alice.register(ctx); err != nil {
		return s, err
	}
	if s.protected.credential, err = alice.stepUp(ctx, measuredPath); err != nil {
		return s, err
	}
	for _, v := range s.variants {
		v.cookie = "session=" + strings.Repeat("x", len(s.protected.credential)-len("session="))
	}
	return s, nil
}

// vary makes the variants.
func (s *stage) vary() error {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	claims := jwt.RegisteredClaims{Issuer: "bench", Subject: "alice", ExpiresAt: jwt.NewNumericDate(time.Now().Add(24 * time.Hour)), IssuedAt: jwt.NewNumericDate(time.Now())}
	checked := func(method jwt.SigningMethod, key any, verifying []byte) (*variant, error) {
		token, err := jwt.NewWithClaims(method, claims).SignedString(key)
		return &variant{
			name: "JWT, " + method.Alg(), kind: "a handler in Caddy's process checks a signed token", credential: "jwt=" + token,
			directives: "\t\tbench_jwt " + method.Alg() + " " + base64.StdEncoding.EncodeToString(verifying) + "\n",
		}, err
	}
	forwarded := func(name, kind string, to *server) *variant {
		return &variant{name: name, kind: kind, authorizer: to, directives: "\t\tforward_auth " + to.address + " {\n\t\t\turi /\n\t\t}\n"}
	}
	s.bare = &variant{name: "Caddy", kind: "the first factor and the proxy alone"}
	s.control = &variant{name: "Caddy again", kind: "the same once more: how far the noise goes"}
	s.headers = &variant{name: "Caddy, four headers set", kind: "the site sets as many headers for the upstream as Stepgate, with constants as long: what telling it costs",
		directives: "\t\trequest_header X-Example-User alice\n\t\trequest_header X-Example-Passkey 0123456789abcdef\n" +
			"\t\trequest_header X-Example-Level verified\n\t\trequest_header X-Example-Time 2006-01-02T15:04:05Z\n"}
	s.open = &variant{name: "Stepgate, open route", kind: "the tenth rule is `open`", directives: tenRules("open /console/*")}
	s.protected = &variant{name: "Stepgate, protected route", kind: "the tenth rule is `protect`, and there is a grant", directives: tenRules("protect /console/*"), stepsUp: true}
	s.forward = forwarded("forward_auth, empty answer", "an authorizer says 200 at once, without a body: the floor of every external one", s.authorizers[0])
	s.forwardBody = forwarded("forward_auth, short answer", "the same with a body of 3 bytes", s.authorizers[1])
	if s.hs256, err = checked(jwt.SigningMethodHS256, secret, secret); err != nil {
		return err
	}
	if s.es256, err = checked(jwt.SigningMethodES256, key, public); err != nil {
		return err
	}
	s.variants = []*variant{s.bare, s.control, s.headers, s.open, s.protected, s.hs256, s.es256, s.forward, s.forwardBody}
	return nil
}

// caddyfile has a site for each variant. The first factor is the cheapest there can be, the same everywhere: the site
// itself says who it is.
func (s *stage) caddyfile() string {
	var text strings.Builder
	fmt.Fprintf(&text, "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\tgrace_period 1s\n"+
		"\tstepgate {\n\t\trp_id localhost\n\t\torigins %s %s\n\t\tstore file stepgate.db\n\t}\n}\n", s.open.origin(), s.protected.origin())
	for _, v := range s.variants {
		fmt.Fprintf(&text, "%s {\n\troute {\n\t\trequest_header X-User alice\n%s\t\treverse_proxy %s\n\t}\n}\n", v.origin(), v.directives, s.upstream.address)
	}
	return text.String()
}

// stop ends what was started.
func (s *stage) stop() (err error) {
	if s.caddy != nil {
		err = s.caddy.stop()
	}
	for _, p := range append(s.authorizers, s.upstream) {
		if p != nil {
			err = errors.Join(err, p.stop())
		}
	}
	return err
}
