package gatewaytest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// Secure is a console over https whose first factor is the header X-User. 127.0.0.1 is served, but is no origin.
const Secure = `{
	admin localhost:$ADMIN
	persist_config off
	default_bind 127.0.0.1
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	stepgate {
		rp_id localhost
		origins https://localhost:$PORT
		store file $DIR/stepgate.db
	}
}
https://localhost:$PORT, https://127.0.0.1:$PORT {
	` + OwnCertificate + `
	log
	stepgate {
		user {header.X-User}
		open /open /open/*
		protect /admin/* {
			max_age 5m
		}
	}
	reverse_proxy $UPSTREAM
}
`

func StartSecure(t *testing.T) *Gateway {
	t.Helper()
	g := Prepare(t)
	g.URL = fmt.Sprintf("https://localhost:%d", g.Port)
	g.Configure(Secure)
	g.Run()
	return g
}

// Transports are the versions of HTTP that a gateway speaks, by name.
func Transports(t *testing.T, g *Gateway) map[string]http.RoundTripper {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", g.Port)
	over := func(protocols ...string) *http.Transport {
		config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols}
		tr := &http.Transport{
			ForceAttemptHTTP2: len(protocols) > 0,
			TLSClientConfig:   config,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", address)
			},
		}
		if len(protocols) == 0 {
			tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	h3 := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}}
	t.Cleanup(func() { h3.Close() })
	return map[string]http.RoundTripper{"HTTP/1.1": over(), "HTTP/2.0": over("h2"), "HTTP/3.0": h3}
}
