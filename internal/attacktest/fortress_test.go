package attacktest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// caddyfile is what is attacked: one relying party with hosts that differ, whose first factor is the header X-User. Views of
// users are never old, so that what ends a grant ends it at once.
const caddyfile = `{
	admin localhost:$ADMIN
	persist_config off
	default_bind 127.0.0.1
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	debug
	stepgate {
		rp_id example.test
		origins https://console.example.test:$PORT https://aws.example.test:$PORT https://session.example.test:$PORT https://folded.example.test:$PORT
		store file $DIR/stepgate.db
		revocation_lag 0s
	}
}
(rules) {
	user {header.X-User}
	open /open /open/*
	protect /touch {
		level present
	}
	protect /hardware/* {
		level device_bound
	}
	protect /brief {
		max_age 1s
	}
}
https://console.example.test:$PORT, https://aws.example.test:$PORT, https://stray.example.test:$PORT {
	` + gatewaytest.OwnCertificate + `
	log
	stepgate {
		import rules
	}
	reverse_proxy $UPSTREAM
}
https://session.example.test:$PORT {
	` + gatewaytest.OwnCertificate + `
	log
	stepgate {
		import rules
		bind_session {header.X-Session}
	}
	reverse_proxy $UPSTREAM
}
https://folded.example.test:$PORT {
	` + gatewaytest.OwnCertificate + `
	log
	stepgate {
		import rules
		fold_user
	}
	reverse_proxy $UPSTREAM
}
`

// fortress runs it.
func fortress(t testing.TB, on gatewaytest.Store) *gatewaytest.Gateway {
	t.Helper()
	g := on.Prepare(t)
	g.URL = fmt.Sprintf("https://%s:%d", consoleHost, g.Port)
	g.Configure(caddyfile)
	g.Run()
	return g
}

// The versions of HTTP.
const (
	http1  = "HTTP/1.1"
	http2  = "HTTP/2.0"
	http3_ = "HTTP/3.0"
)

// transport connects to the gateway, whoever it is asked for, and holds that answers are of the scene's version.
func (s *scene) transport() http.RoundTripper {
	address := fmt.Sprintf("127.0.0.1:%d", s.g.Port)
	config := &tls.Config{InsecureSkipVerify: true}
	if s.version == http3_ {
		tr := &http3.Transport{TLSClientConfig: config, Dial: func(ctx context.Context, authority string, tlsConfig *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddr(ctx, address, tlsConfig, quicConfig)
		}}
		s.Cleanup(func() { tr.Close() })
		return versioned{s.version, tr}
	}
	tr := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	if s.version == http2 {
		tr.ForceAttemptHTTP2 = true
	} else {
		tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	s.Cleanup(tr.CloseIdleConnections)
	return versioned{s.version, tr}
}

// versioned turns an answer in another version of HTTP into an error.
type versioned struct {
	version string
	http.RoundTripper
}

func (v versioned) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := v.RoundTripper.RoundTrip(r)
	if err == nil && answer.Proto != v.version {
		answer.Body.Close()
		return nil, fmt.Errorf("answered in %s, want %s", answer.Proto, v.version)
	}
	return answer, err
}
