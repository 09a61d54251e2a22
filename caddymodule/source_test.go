package caddymodule

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A certificate that no CA vouches for (client_auth mode require, without a trust pool) names nobody: anybody can make one.
func TestUnverifiedCertificateNamesNobody(t *testing.T) {
	s, err := newSource("{http.request.tls.client.subject}", false)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}}
	r := httptest.NewRequest("GET", "https://console.example.com/", nil)
	r.TLS.PeerCertificates = []*x509.Certificate{certificate}
	if user := s.read(r, caddyhttp.NewTestReplacer(r)); user != "" {
		t.Errorf("unverified: %q", user)
	}
	r.TLS.VerifiedChains = [][]*x509.Certificate{{certificate}}
	if user := s.read(r, caddyhttp.NewTestReplacer(r)); user != "CN=alice" {
		t.Errorf("verified: %q", user)
	}
	r.TLS = nil
	if user := s.read(r, caddyhttp.NewTestReplacer(r)); user != "" {
		t.Errorf("without TLS: %q", user)
	}
	r.TLS = &tls.ConnectionState{}
	if user := s.read(r, caddyhttp.NewTestReplacer(r)); user != "" {
		t.Errorf("without a certificate: %q", user)
	}
}
