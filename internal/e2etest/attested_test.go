package e2etest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/browsertest"
	"github.com/stepgate/stepgate/internal/metadatatest"
)

// chromiumModel is the AAGUID of Chromium's virtual authenticators.
var chromiumModel = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8}

const attestedVault = "protect /vault/* {\n level attested\n max_age 5m\n}"

// mds is a gateway's metadata: a file and who signs it.
type mds struct {
	g      *gatewaytest.Gateway
	signer *metadatatest.Authority
	number int
}

func newMDS(g *gatewaytest.Gateway) *mds {
	g.T.Helper()
	m := &mds{g: g, signer: metadatatest.NewAuthority()}
	gatewaytest.Must(g.T, os.WriteFile(filepath.Join(g.Folder, "mds-root.pem"), m.signer.PEM(), 0o600))
	return m
}

const attestation = "attestation {\n metadata $DIR/mds.jwt\n root $DIR/mds-root.pem\n}"

// publish puts a newer BLOB in the place of the file, as a job would, and waits until the gateway has it.
func (m *mds) publish(models ...metadatatest.Model) {
	m.g.T.Helper()
	m.number++
	m.put(m.signer, models...)
	logs(m.g, fmt.Sprintf(`"number":%d,`, m.number))
}

func (m *mds) put(signer *metadatatest.Authority, models ...metadatatest.Model) {
	m.g.T.Helper()
	blob := signer.Blob(metadatatest.Blob{Number: m.number, NextUpdate: time.Now().AddDate(0, 1, 0), Models: models})
	path := filepath.Join(m.g.Folder, "mds.jwt")
	gatewaytest.Must(m.g.T, os.WriteFile(path+".new", blob, 0o600))
	gatewaytest.Must(m.g.T, os.Rename(path+".new", path))
}

// logs waits until the log holds a text.
func logs(g *gatewaytest.Gateway, text string) {
	g.T.Helper()
	logsAgain(g, text, 1)
}

// logsAgain waits until the log holds a text so often.
func logsAgain(g *gatewaytest.Gateway, text string, times int) {
	g.T.Helper()
	deadline := time.Now().Add(gatewaytest.Patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for strings.Count(g.Log.Text(), text) < times {
		if <-tick.C; time.Now().After(deadline) {
			g.T.Fatalf("the log never says %s", text)
		}
	}
}

// A route that demands attestation, a person whose key sends it, and metadata that first does not know the key's maker,
// then does, and then revokes the model.
func TestAttested(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := on.Prepare(t)
		m := newMDS(g)
		g.Configure(gatewaytest.Console(attestation, attestedVault))
		g.Run() // before there is any metadata
		logs(g, "authenticator metadata not loaded, and there is none")
		p := visit(g, "alice", options{Transport: "usb"}, calm)

		// Nothing vouches for any key yet.
		p.open("/vault/root")
		p.panel("create")
		p.says("section[data-panel=create]", "a security key of a make that your organisation accepts")
		p.press()
		p.keeps()
		p.failure("created_too_weak")
		p.says("#alert", "is not of an accepted make")
		if e := g.Audited("passkey_registered", ""); e.Level != "device_bound" {
			t.Errorf("audited %+v", e)
		}
		p.unreachable(t)

		// Once the maker is known, it takes a key that was registered since: of the other one nothing is kept.
		maker := p.maker(t)
		model := metadatatest.Model{AAGUID: chromiumModel, Roots: []*x509.Certificate{maker}}
		m.publish(model)
		p.unreachable(t)
		p.open("/vault/root")
		p.panel("add")
		p.press()
		p.panel("added")
		p.key.Presence(false)
		p.Authenticator(options{Transport: "ble"})
		p.Wait("document.querySelector('section[data-panel=added] input').value !== ''")
		p.Fill("section[data-panel=added] input", "Attested key")
		p.press()
		p.panel("confirm")
		if e := g.Audited("passkey_registered", ""); e.Level != "attested" {
			t.Errorf("audited %+v", e)
		}
		g.Upstream.Untouched()
		p.press()
		p.at("/vault/root")
		if r := g.Upstream.One(); r.Header.Get("X-Stepgate-Level") != "attested" {
			t.Errorf("the upstream got %v", r.Header)
		}
		if body := string(p.fetch("/.stepgate/passkeys", `{headers: {Accept: "application/json"}}`).Body); strings.Count(body, `"level":"attested"`) != 1 {
			t.Errorf("the list says %s", body)
		}

		// A forged BLOB changes nothing.
		m.number++
		m.put(metadatatest.NewAuthority())
		logs(g, `"result":"untrusted"`)
		p.again(t)
		p.panel("use")
		p.press()
		p.at("/vault/root")
		g.Upstream.One()

		// A revoked model does not step up any more, and the one who holds it is told.
		model.Statuses = []metadatatest.Status{{Name: "REVOKED"}}
		m.publish(model)
		p.again(t)
		p.Wait("document.querySelector('main')?.dataset.panel === 'closed'") // nothing weaker could add another one
		p.says("main", "Your passkey is not accepted now", "Please try again later")
		p.unreachable(t)
		series := scrape(g)
		if series["stepgate_metadata_in_force"] != 1 || series["stepgate_metadata_number"] != float64(m.number) || series[`stepgate_metadata_loads_total{result="untrusted"}`] == 0 {
			t.Errorf("metrics: %v", series)
		}
		for _, name := range []string{"stepgate_metadata_age_seconds", "stepgate_metadata_next_update_timestamp_seconds"} {
			if _, there := series[name]; !there {
				t.Errorf("no metric %s", name)
			}
		}
	})
}

// unreachable holds that a step-up for the vault does not even begin, and nothing reached the upstream.
func (p *person) unreachable(t *testing.T) {
	t.Helper()
	answer := p.fetch("/.stepgate/challenge/options", `{method: "POST", headers: {"Content-Type": "application/json"}, body: '{"return_to":"/vault/root"}'}`)
	if answer.Status != http.StatusConflict || !bytes.Contains(answer.Body, []byte(`"level_unreachable"`)) {
		t.Errorf("a step-up began: %d %s", answer.Status, answer.Body)
	}
	p.g.Upstream.Untouched()
}

// again opens the vault once the person has logged out, and the tab forgot that it has just been there.
func (p *person) again(t *testing.T) {
	t.Helper()
	if answer := p.fetch("/.stepgate/logout", `{method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}`); answer.Status != http.StatusNoContent {
		t.Fatalf("logging out: %d %s", answer.Status, answer.Body)
	}
	browsertest.Eval[bool](p.Tab, "sessionStorage.clear() === undefined")
	p.open("/vault/root")
}

// maker returns a certificate that vouches for what the person's authenticator sent when it was registered: Chromium makes
// a certificate for each registration, which it signs with one key.
func (p *person) maker(t *testing.T) *x509.Certificate {
	t.Helper()
	sent := browsertest.Eval[string](p.Tab, `Object.keys(localStorage).find((key) => key.startsWith("test.secret attestationObject "))`)
	_, text, _ := strings.Cut(strings.TrimPrefix(sent, "test.secret "), " ")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	gatewaytest.Must(t, err)
	var object struct {
		Format    string `cbor:"fmt"`
		Statement struct {
			X5C [][]byte `cbor:"x5c"`
		} `cbor:"attStmt"`
	}
	gatewaytest.Must(t, cbor.Unmarshal(raw, &object))
	if object.Format != "packed" || len(object.Statement.X5C) == 0 {
		t.Fatalf("the browser sent attestation %q with %d certificates", object.Format, len(object.Statement.X5C))
	}
	leaf, err := x509.ParseCertificate(object.Statement.X5C[0])
	gatewaytest.Must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	gatewaytest.Must(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: leaf.RawIssuer, NotBefore: leaf.NotBefore.AddDate(-1, 0, 0), NotAfter: leaf.NotAfter.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		DNSNames: []string{"chromium.test"}, // else crypto/x509 takes it for the leaf, which has the same name and key
	}
	der, err := x509.CreateCertificate(rand.Reader, root, &x509.Certificate{RawSubject: leaf.RawIssuer}, leaf.PublicKey, key)
	gatewaytest.Must(t, err)
	made, err := x509.ParseCertificate(der)
	gatewaytest.Must(t, err)
	return made
}

// The metadata outlives reloads that change nothing about it. One that takes attestation away from a level that needs it is
// refused. A source that can't be reached stops neither a start nor a reload, and closes the level alone.
func TestMetadataAndReloads(t *testing.T) {
	t.Parallel()
	const rules = attestedVault + "\nprotect /keys/* {\n level device_bound\n}"
	g, acme := gatewaytest.Prepare(t), authtest.NewMaker("Acme")
	m := newMDS(g)
	m.number = 1
	m.put(m.signer, metadatatest.Model{AAGUID: [16]byte{0xac}, Roots: []*x509.Certificate{acme.Root()}})
	g.Configure(gatewaytest.HeaderConsole(attestation, rules))
	g.Run()
	logs(g, `"number":1,`)
	c := gatewaytest.NewClient(t, g, "alice")
	c.Key = authtest.New(authtest.Config{Attestation: authtest.Certified, Maker: acme, AAGUID: [16]byte{0xac}, Counts: true})
	gatewaytest.Must(t, c.Register("key"))
	reload := func(caddyfile string, flags ...string) error {
		t.Helper()
		err := g.Reload(caddyfile, flags...)
		c.HTTP.CloseIdleConnections() // to the servers of before, which go away
		return err
	}
	steps := func(path, level string) {
		t.Helper()
		answer, err := c.StepUp(path)
		gatewaytest.Must(t, err)
		if !bytes.Contains(answer.Body, []byte(`"level":"`+level+`"`)) {
			t.Errorf("%s: %s", path, answer.Body)
		}
	}
	steps("/vault/root", "attested")

	gatewaytest.Must(t, reload(gatewaytest.HeaderConsole(attestation, rules), "--force"))
	steps("/vault/root", "attested") // at once, without anything being loaded
	if loads := strings.Count(g.Log.Text(), "authenticator metadata loaded"); loads != 1 {
		t.Errorf("loaded %d times", loads)
	}
	if err := reload(gatewaytest.HeaderConsole("", rules)); err == nil || !strings.Contains(err.Error(), "add `attestation` to the global option stepgate") {
		t.Errorf("a level that nothing reaches was loaded: %v", err)
	}
	steps("/vault/root", "attested") // the configuration before is in force

	nobody := "attestation {\n metadata https://localhost:1/mds.jwt\n}"
	gatewaytest.Must(t, reload(gatewaytest.HeaderConsole(nobody, rules)))
	logs(g, `"from":"https://localhost:1/mds.jwt","result":"unreachable"`)
	gatewaytest.Must(t, c.Post("/.stepgate/challenge/options", map[string]any{"return_to": "/vault/root"}).Refused(http.StatusConflict, "level_unreachable"))
	steps("/keys/1", "device_bound")
	if series := scrape(g); series["stepgate_metadata_in_force"] != 0 || series[`stepgate_metadata_loads_total{result="unreachable"}`] == 0 {
		t.Errorf("metrics: %v", series)
	}
	g.Stop()
	g.Run() // with nobody there
	c.HTTP.CloseIdleConnections()
	gatewaytest.Must(t, c.Post("/.stepgate/challenge/options", map[string]any{"return_to": "/vault/root"}).Refused(http.StatusConflict, "level_unreachable"))
	steps("/keys/1", "device_bound")
	for _, action := range []string{"add", "remove"} { // nor does the outage let anything weaker than the record says
		id := ""
		if action == "remove" {
			ids, err := c.Passkeys()
			gatewaytest.Must(t, err)
			id = ids["key"]
		}
		body := map[string]any{"action": action}
		if id != "" {
			body["id"] = id
		}
		gatewaytest.Must(t, c.Post("/.stepgate/passkeys/authorize/options", body).Refused(http.StatusConflict, "level_unreachable"))
	}

	gatewaytest.Must(t, reload(gatewaytest.HeaderConsole(attestation, rules)))
	logsAgain(g, "authenticator metadata loaded", 2)
	steps("/keys/1", "attested")
}
