package caddymodule_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Over TLS, in HTTP/1.1 and HTTP/2: the whole way from registration to a request that passes, with the cookies that
// only https origins get.
func TestTLS(t *testing.T) {
	g := newGateway(t)
	certify(t, g.folder, "console.example.com")
	if err := g.reload(options("", "rp_id example.com\norigins https://console.example.com:$PORT"), `https://console.example.com:$PORT {
	tls $FOLDER/cert.pem $FOLDER/key.pem
	stepgate {
		user {header.X-User}
		open /open
	}
	`+proxy+`
}`); err != nil {
		t.Fatal(err)
	}
	for name, major := range map[string]int{"http1": 1, "http2": 2} {
		t.Run(name, func(t *testing.T) {
			alice := g.browser("alice-" + name)
			alice.origin = g.fill("https://console.example.com:$PORT")
			transport := alice.client.Transport.(*http.Transport)
			transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
			transport.ForceAttemptHTTP2 = major == 2
			t.Cleanup(transport.CloseIdleConnections)

			alice.register()
			stopped := alice.want("/page", 303, "", navigating)
			if to := alice.follow(stopped); to != "/page" {
				t.Errorf("sent back to %s", to)
			}
			for _, name := range []string{"__Host-stepgate", "__Host-stepgate-ceremony"} {
				if alice.cookies[name] == "" {
					t.Errorf("no cookie %s", name)
				}
			}
			alice.cookies["stepgate"] = "mine" // the upstream's own: the gate's has another name here
			answer := alice.want("/page", 200, "", forged)
			if answer.ProtoMajor != major {
				t.Errorf("spoke %s", answer.Proto)
			}
			got := g.received().Header
			if cookie := strings.Join(got["Cookie"], "; "); cookie != "stepgate=mine" {
				t.Errorf("Cookie %q", cookie)
			}
			if got.Get("X-Stepgate-User") != "alice-"+name {
				t.Errorf("the upstream got %v", got)
			}
		})
	}
}

// HTTP/2 in the clear, where the operator turns it on, meets the gate as everything does.
func TestHTTP2InTheClear(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("servers {\nprotocols h1 h2c\n}", ""), site("open /open", proxy)); err != nil {
		t.Fatal(err)
	}
	alice := g.browser("alice")
	alice.client.Transport.(*http.Transport).Protocols = new(http.Protocols)
	alice.client.Transport.(*http.Transport).Protocols.SetUnencryptedHTTP2(true)
	alice.want("/page", 401, "step_up_required/grant_missing")
	alice.register()
	alice.stepUp("/")
	for _, path := range []string{"/page", "/open"} {
		if answer := alice.want(path, 200, "", forged); answer.ProtoMajor != 2 {
			t.Errorf("spoke %s", answer.Proto)
		}
		if got := g.received().Header; strings.Contains(strings.Join(got["Cookie"], ""), "stepgate") || got.Get("X-Stepgate-Future") != "" {
			t.Errorf("%s: the upstream got %v", path, got)
		}
	}
	trailers := alice.request("POST", "/open", "hi")
	trailers.Trailer = http.Header{"X-Stepgate-User": {"forged"}}
	trailers.ContentLength = -1
	var got http.Header
	g.upstream.answers(func(_ http.ResponseWriter, r *http.Request) {
		readAll(t, r.Body)
		got = r.Trailer
	})
	alice.send(trailers).want(t, 200, "")
	if len(got) > 0 {
		t.Errorf("the upstream got the trailers %v", got)
	}
}

// certify writes a certificate that nobody trusts.
func certify(t *testing.T, folder, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
