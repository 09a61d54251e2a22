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
	g      *gateway
	signer *metadatatest.Authority
	number int
}

func newMDS(g *gateway) *mds {
	g.t.Helper()
	m := &mds{g: g, signer: metadatatest.NewAuthority()}
	must(g.t, os.WriteFile(filepath.Join(g.folder, "mds-root.pem"), m.signer.PEM(), 0o600))
	return m
}

const attestation = "attestation {\n metadata $DIR/mds.jwt\n root $DIR/mds-root.pem\n}"

// publish puts a newer BLOB in the place of the file, as a job would, and waits until the gateway has it.
func (m *mds) publish(models ...metadatatest.Model) {
	m.g.t.Helper()
	m.number++
	m.put(m.signer, models...)
	m.g.logs(fmt.Sprintf(`"number":%d,`, m.number))
}

func (m *mds) put(signer *metadatatest.Authority, models ...metadatatest.Model) {
	m.g.t.Helper()
	blob := signer.Blob(metadatatest.Blob{Number: m.number, NextUpdate: time.Now().AddDate(0, 1, 0), Models: models})
	path := filepath.Join(m.g.folder, "mds.jwt")
	must(m.g.t, os.WriteFile(path+".new", blob, 0o600))
	must(m.g.t, os.Rename(path+".new", path))
}

// logs waits until the log holds a text.
func (g *gateway) logs(text string) {
	g.t.Helper()
	g.logsAgain(text, 1)
}

// logsAgain waits until the log holds a text so often.
func (g *gateway) logsAgain(text string, times int) {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for strings.Count(g.log.text(), text) < times {
		if <-tick.C; time.Now().After(deadline) {
			g.t.Fatalf("the log never says %s", text)
		}
	}
}

// A route that demands attestation, a person whose key sends it, and metadata that first does not know the key's maker,
// then does, and then revokes the model.
func TestAttested(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		g := on.prepare(t)
		m := newMDS(g)
		g.configure(console(attestation, attestedVault))
		g.run() // before there is any metadata
		g.logs("authenticator metadata not loaded, and there is none")
		p := g.visit("alice", options{Transport: "usb"}, calm)

		// Nothing vouches for any key yet.
		p.open("/vault/root")
		p.panel("create")
		p.says("section[data-panel=create]", "a security key of a make that your organisation accepts")
		p.press()
		p.keeps()
		p.failure("created_too_weak")
		p.says("#alert", "is not of an accepted make")
		if e := g.audited("passkey_registered", ""); e.Level != "device_bound" {
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
		if e := g.audited("passkey_registered", ""); e.Level != "attested" {
			t.Errorf("audited %+v", e)
		}
		g.upstream.untouched()
		p.press()
		p.at("/vault/root")
		if r := g.upstream.one(); r.Header.Get("X-Stepgate-Level") != "attested" {
			t.Errorf("the upstream got %v", r.Header)
		}
		if body := string(p.fetch("/.stepgate/passkeys", `{headers: {Accept: "application/json"}}`).Body); strings.Count(body, `"level":"attested"`) != 1 {
			t.Errorf("the list says %s", body)
		}

		// A forged BLOB changes nothing.
		m.number++
		m.put(metadatatest.NewAuthority())
		g.logs(`"result":"untrusted"`)
		p.again(t)
		p.panel("use")
		p.press()
		p.at("/vault/root")
		g.upstream.one()

		// A revoked model does not step up any more, and the one who holds it is told.
		model.Statuses = []metadatatest.Status{{Name: "REVOKED"}}
		m.publish(model)
		p.again(t)
		p.Wait("document.querySelector('main')?.dataset.panel === 'closed'") // nothing weaker could add another one
		p.says("main", "Your passkey is not accepted now", "Please try again later")
		p.unreachable(t)
		series := g.scrape()
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
	p.g.upstream.untouched()
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
	must(t, err)
	var object struct {
		Format    string `cbor:"fmt"`
		Statement struct {
			X5C [][]byte `cbor:"x5c"`
		} `cbor:"attStmt"`
	}
	must(t, cbor.Unmarshal(raw, &object))
	if object.Format != "packed" || len(object.Statement.X5C) == 0 {
		t.Fatalf("the browser sent attestation %q with %d certificates", object.Format, len(object.Statement.X5C))
	}
	leaf, err := x509.ParseCertificate(object.Statement.X5C[0])
	must(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: leaf.RawIssuer, NotBefore: leaf.NotBefore.AddDate(-1, 0, 0), NotAfter: leaf.NotAfter.AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		DNSNames: []string{"chromium.test"}, // else crypto/x509 takes it for the leaf, which has the same name and key
	}
	der, err := x509.CreateCertificate(rand.Reader, root, &x509.Certificate{RawSubject: leaf.RawIssuer}, leaf.PublicKey, key)
	must(t, err)
	made, err := x509.ParseCertificate(der)
	must(t, err)
	return made
}

// The metadata outlives reloads that change nothing about it. One that takes attestation away from a level that needs it is
// refused. A source that can't be reached stops neither a start nor a reload, and closes the level alone.
func TestMetadataAndReloads(t *testing.T) {
	t.Parallel()
	const rules = attestedVault + "\nprotect /keys/* {\n level device_bound\n}"
	g, acme := prepare(t), authtest.NewMaker("Acme")
	m := newMDS(g)
	m.number = 1
	m.put(m.signer, metadatatest.Model{AAGUID: [16]byte{0xac}, Roots: []*x509.Certificate{acme.Root()}})
	g.configure(headerConsole(attestation, rules))
	g.run()
	g.logs(`"number":1,`)
	c := newClient(t, g, "alice")
	c.key = authtest.New(authtest.Config{Attestation: authtest.Certified, Maker: acme, AAGUID: [16]byte{0xac}, Counts: true})
	must(t, c.register("key"))
	reload := func(caddyfile string, flags ...string) error {
		t.Helper()
		err := g.reload(caddyfile, flags...)
		c.http.CloseIdleConnections() // to the servers of before, which go away
		return err
	}
	steps := func(path, level string) {
		t.Helper()
		answer, err := c.stepUp(path)
		must(t, err)
		if !bytes.Contains(answer.body, []byte(`"level":"`+level+`"`)) {
			t.Errorf("%s: %s", path, answer.body)
		}
	}
	steps("/vault/root", "attested")

	must(t, reload(headerConsole(attestation, rules), "--force"))
	steps("/vault/root", "attested") // at once, without anything being loaded
	if loads := strings.Count(g.log.text(), "authenticator metadata loaded"); loads != 1 {
		t.Errorf("loaded %d times", loads)
	}
	if err := reload(headerConsole("", rules)); err == nil || !strings.Contains(err.Error(), "add `attestation` to the global option stepgate") {
		t.Errorf("a level that nothing reaches was loaded: %v", err)
	}
	steps("/vault/root", "attested") // the configuration before is in force

	nobody := "attestation {\n metadata https://localhost:1/mds.jwt\n}"
	must(t, reload(headerConsole(nobody, rules)))
	g.logs(`"from":"https://localhost:1/mds.jwt","result":"unreachable"`)
	must(t, c.post("/.stepgate/challenge/options", map[string]any{"return_to": "/vault/root"}).refused(http.StatusConflict, "level_unreachable"))
	steps("/keys/1", "device_bound")
	if series := g.scrape(); series["stepgate_metadata_in_force"] != 0 || series[`stepgate_metadata_loads_total{result="unreachable"}`] == 0 {
		t.Errorf("metrics: %v", series)
	}
	g.stop()
	g.run() // with nobody there
	c.http.CloseIdleConnections()
	must(t, c.post("/.stepgate/challenge/options", map[string]any{"return_to": "/vault/root"}).refused(http.StatusConflict, "level_unreachable"))
	steps("/keys/1", "device_bound")
	for _, action := range []string{"add", "remove"} { // nor does the outage let anything weaker than the record says
		id := ""
		if action == "remove" {
			ids, err := c.passkeys()
			must(t, err)
			id = ids["key"]
		}
		body := map[string]any{"action": action}
		if id != "" {
			body["id"] = id
		}
		must(t, c.post("/.stepgate/passkeys/authorize/options", body).refused(http.StatusConflict, "level_unreachable"))
	}

	must(t, reload(headerConsole(attestation, rules)))
	g.logsAgain("authenticator metadata loaded", 2)
	steps("/keys/1", "attested")
}
