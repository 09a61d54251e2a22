package caddymodule_test

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"
)

// A client certificate says who somebody is only if it was verified: one that Caddy merely asked for anybody can make.
func TestClientCertificate(t *testing.T) {
	g := newGateway(t)
	certify(t, g.folder, "console.example.com")
	people := t.TempDir()
	certify(t, people, "alice.example.com") // by itself the CA too
	certificate, err := tls.LoadX509KeyPair(filepath.Join(people, "cert.pem"), filepath.Join(people, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	load := func(clientAuth string) {
		t.Helper()
		if err := g.reload(options("", "rp_id example.com\norigins https://console.example.com:$PORT"), `https://console.example.com:$PORT {
	tls $FOLDER/cert.pem $FOLDER/key.pem {
		client_auth {
			`+clientAuth+`
		}
	}
	stepgate {
		user {http.request.tls.client.san.dns_names.0}
	}
	`+proxy+`
}`); err != nil {
			t.Fatal(err)
		}
	}
	alice := g.browser("")
	alice.origin = g.fill("https://console.example.com:$PORT")
	alice.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate}}

	load("mode verify_if_given\ntrust_pool file " + filepath.Join(people, "cert.pem"))
	alice.register()
	alice.stepUp("/")
	alice.want("/", 200, "")
	if user := g.received().Header.Get("X-Stepgate-User"); user != "alice.example.com" {
		t.Errorf("user %q", user)
	}
	nobody := g.browser("")
	nobody.origin, nobody.cookies = alice.origin, alice.cookies
	nobody.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	nobody.want("/", 401, "user_missing")

	for _, mode := range []string{"request", "require"} {
		load("mode " + mode)
		alice.want("/", 401, "user_missing")
	}
	g.reached(0)
}
