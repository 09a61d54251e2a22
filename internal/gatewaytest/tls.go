package gatewaytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// OwnCertificate is the TLS directive of every site here. With `tls internal` Caddy makes certificates while it starts, and
// tells of it: a data race in Caddy 2.11.9 (caddytls.TLS is copied while it starts).
const OwnCertificate = "tls $DIR/tls.pem $DIR/tls.pem"

// certificate is one for all hosts of all tests, with its key. No client here looks at who made it.
var certificate = sync.OnceValues(func() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tests"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames:    []string{"localhost", "example.test", "*.example.test", "other.test", "*.other.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
})

// certify puts the certificate where ownCertificate has it.
func (g *Gateway) certify() {
	g.T.Helper()
	text, err := certificate()
	Must(g.T, err)
	Must(g.T, os.WriteFile(filepath.Join(g.Folder, "tls.pem"), text, 0o600))
}
