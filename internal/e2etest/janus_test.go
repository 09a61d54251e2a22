package e2etest_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// janusTable is a table of passkeys as Janus makes it, in the DynamoDB Local that all tests share.
type janusTable struct {
	*tables
	name string
	rows int
}

// typed is one of a row's, as DynamoDB's API writes it.
type typed map[string]any

func text(value string) typed   { return typed{"S": value} }
func number(value string) typed { return typed{"N": value} }

func newJanusTable(t testing.TB) *janusTable {
	t.Helper()
	name := "Passkeys-janus-" + rand.Text()[:12]
	j := &janusTable{tables: &tables{t: t, endpoint: local(t)}, name: name}
	type m = map[string]any
	j.call("CreateTable", m{
		"TableName": name, "ProvisionedThroughput": m{"ReadCapacityUnits": 15, "WriteCapacityUnits": 15},
		"KeySchema":            []m{{"AttributeName": "username", "KeyType": "HASH"}, {"AttributeName": "credentialId", "KeyType": "RANGE"}},
		"AttributeDefinitions": []m{{"AttributeName": "username", "AttributeType": "S"}, {"AttributeName": "credentialId", "AttributeType": "S"}},
	})
	return j
}

func (j *janusTable) put(row map[string]typed) {
	j.t.Helper()
	j.rows++
	j.call("PutItem", map[string]any{"TableName": j.name, "Item": row})
}

// register lets an authenticator make a passkey with the options that Janus gives, and writes the row that Janus does, after
// the changes.
func (j *janusTable) register(user, name string, key *authtest.Authenticator, changes ...func(map[string]typed)) (id string) {
	j.t.Helper()
	type m = map[string]any
	options, err := json.Marshal(m{"publicKey": m{
		"rp": m{"id": "localhost", "name": "Janus-Test"}, "challenge": encoded([]byte("sixteen bytes ok")),
		"user":                   m{"id": encoded([]byte(user)), "name": user, "displayName": "Somebody"},
		"pubKeyCredParams":       []m{{"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -257}},
		"authenticatorSelection": m{"residentKey": "discouraged", "requireResidentKey": false, "userVerification": "required"},
		"attestation":            "direct",
	}})
	must(j.t, err)
	reply, err := key.Register(options, "http://localhost")
	must(j.t, err)
	var credential struct {
		ID       string
		Response struct{ AttestationObject string }
	}
	must(j.t, json.Unmarshal(reply, &credential))
	var object struct {
		AuthData []byte `cbor:"authData"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(credential.Response.AttestationObject)
	must(j.t, err)
	must(j.t, cbor.Unmarshal(raw, &object))
	attested := object.AuthData[32+1+4:] // RP ID hash, flags, sign count
	aaguid := fmt.Sprintf("%x", attested[:16])
	row := map[string]typed{
		"username": text(user), "credentialId": text(credential.ID), "credential": text(encoded(attested)),
		"attestationStatement": text("oA"), "authenticatorExtensions": text("oA"), "authCounter": number("0"), "passkeyName": text(name),
		"registrationTime": text("2025-06-01T12:34:56.123456Z"),
		"aaguid":           text(aaguid[:8] + "-" + aaguid[8:12] + "-" + aaguid[12:16] + "-" + aaguid[16:20] + "-" + aaguid[20:]),
	}
	for _, change := range changes {
		change(row)
	}
	j.put(row)
	return credential.ID
}

func encoded(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func changed(name string, value typed) func(map[string]typed) {
	return func(row map[string]typed) { row[name] = value }
}

// items counts what a table holds.
func (d *tables) items(table string) int {
	d.t.Helper()
	var answer struct{ Count int }
	must(d.t, json.Unmarshal(d.call("Scan", map[string]any{"TableName": table, "ConsistentRead": true}), &answer))
	return answer.Count
}

// newcomer is a gateway that does not run yet, for people who come from Janus.
type newcomer struct {
	*gateway
	janus   *janusTable
	tables  *tables          // nil on a file
	between *faulttest.Proxy // what stands before DynamoDB, for Janus's table and ours
}

func newNewcomer(t *testing.T, on store) *newcomer {
	t.Helper()
	n := &newcomer{gateway: prepare(t), janus: newJanusTable(t), between: faulttest.New(t, local(t))}
	if on == onDynamoDB {
		n.tables = newTables(t)
		n.uses(n.tables, n.between.URL, newKey(n.gateway))
	} else {
		n.environment = []string{"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=" + secretAccessKey, "AWS_EC2_METADATA_DISABLED=true"}
	}
	n.configure(headerConsole("", vault))
	return n
}

func (n *newcomer) flags(more ...string) []string {
	return append([]string{
		"import", "--config", "Caddyfile", "--from", "janus", "--table", n.janus.name, "--region", region, "--endpoint", n.between.URL,
		"--user-suffix", "@example.com",
	}, more...)
}

// moves runs the import and holds what it ends with, and what it says.
func (n *newcomer) moves(code int, want []string, more ...string) string {
	n.t.Helper()
	out, got := n.call(n.flags(more...)...)
	if got != code {
		n.t.Errorf("%v: exit code %d, want %d:\n%s", more, got, code, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			n.t.Errorf("%v: does not say %q:\n%s", more, text, out)
		}
	}
	if strings.Contains(out, secretAccessKey) {
		n.t.Errorf("%v: shows a secret:\n%s", more, out)
	}
	return out
}

// unwritten holds that nothing was written.
func (n *newcomer) unwritten() {
	n.t.Helper()
	if n.tables != nil {
		if items := n.tables.items(n.tables.passkeys); items != 0 {
			n.t.Errorf("%d items were written", items)
		}
	} else if _, err := os.Stat(filepath.Join(n.folder, "stepgate.db")); err == nil {
		n.t.Error("a file was written")
	}
}

// People go on with the passkeys that they had at Janus. What those are is learned once, and never where it decides.
func TestMovingInFromJanus(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		n := newNewcomer(t, on)
		bound := authtest.New(authtest.Config{Counts: true})
		synced := authtest.New(authtest.Config{Synced: true, Algorithm: authtest.EdDSA})
		n.janus.register("ada", "Security key", bound)
		n.janus.register("bob", "Phone", synced, changed("lastUsedTime", text("2026-01-02T03:04:05.678Z")))
		n.janus.register("carol", "Work key", authtest.New(authtest.Config{Algorithm: authtest.RS256, Seed: "carol"}))

		n.moves(1, []string{`passkeys made at "janus.example.com" are useless at the rp_id "localhost"`}, "--janus-host", "janus.example.com")
		n.unwritten()
		n.moves(0, []string{"would import 3 users, 3 passkeys\n"}, "--janus-host", "localhost", "--dry-run")
		n.unwritten()
		n.moves(0, []string{"the passkeys work only if Janus is at the host localhost", "\nimported 3 users, 3 passkeys\n"})
		n.moves(0, []string{"\nimported 0 users, 0 passkeys; 3 users were there already\n"})
		if rows := n.janus.items(n.janus.name); rows != 3 {
			t.Errorf("Janus's table has %d rows now", rows)
		}

		n.run()
		ada := newClient(t, n.gateway, "ada@example.com")
		ada.key = bound
		vaulted := map[string]any{"return_to": "/vault/x"}
		must(t, ada.post("/.stepgate/challenge/options", vaulted).refused(409, "level_unreachable"))
		if _, err := ada.beginRegistration(authtest.New(authtest.Config{}), "Another", nil); err == nil || !strings.Contains(err.Error(), "authorization_needed") {
			t.Errorf("first use is open for somebody who was imported: %v", err)
		}
		answer, err := ada.stepUp("/keys")
		must(t, err)
		must(t, answer.expect(200))
		if e := n.audited("ceremony_finished", ""); e.User != ada.user || e.Level != "verified" {
			t.Errorf("audited %+v", e)
		}
		if e := n.audited("backup_learned", ""); e.User != ada.user || e.Level != "device_bound" || e.Passkey == "" {
			t.Errorf("audited %+v", e)
		}
		must(t, ada.get("/keys").expect(200))
		must(t, ada.get("/vault/x").refused(401, "grant_level"))
		answer, err = ada.stepUp("/vault/x")
		must(t, err)
		must(t, answer.expect(200))
		must(t, ada.get("/vault/x").expect(200))

		bob := newClient(t, n.gateway, "bob@example.com")
		bob.key = synced
		answer, err = bob.stepUp("/keys")
		must(t, err)
		must(t, answer.expect(200))
		if e := n.audited("backup_learned", ""); e.User != bob.user || e.Level != "verified" {
			t.Errorf("audited %+v", e)
		}
		must(t, bob.post("/.stepgate/challenge/options", vaulted).refused(409, "level_unreachable"))
		if learned := strings.Count(n.log.text(), `"backup_learned"`); learned != 2 {
			t.Errorf("%d were learned", learned)
		}
	})
}

// Each row that can't be taken is named, with its reason; the others are taken, and a repetition changes nothing.
func TestJanusRowsLeftOut(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		n := newNewcomer(t, on)
		key := func() *authtest.Authenticator { return authtest.New(authtest.Config{}) }
		n.janus.register("ada", "Laptop", key())
		n.janus.register("ada", "laptop", key())
		zombie := encoded([]byte("a removed passkey"))
		n.janus.put(map[string]typed{"username": text("ada"), "credentialId": text(zombie), "authCounter": number("9")})
		date := n.janus.register("bob", "Key", key(), changed("registrationTime", text("yesterday")))
		shared := n.janus.register("eve", "Key", key())
		var row struct{ Item map[string]typed }
		must(t, json.Unmarshal(n.janus.call("GetItem", map[string]any{
			"TableName": n.janus.name, "Key": map[string]typed{"username": text("eve"), "credentialId": text(shared)},
		}), &row))
		row.Item["username"] = text("mallory")
		n.janus.put(row.Item)
		odd := n.janus.register("x\u202e\n"+strings.Repeat("é", 40), "Key", key(), changed("colour", text("red")))

		want := []string{
			`username "ada", credentialId "` + zombie + `": credential is missing` + "\n",
			`username "bob", credentialId "` + date + `": registrationTime is no time as Janus writes them` + "\n",
			`username "eve", credentialId "` + shared + `": the same credentialId is there for "mallory"` + "\n",
			`username "mallory", credentialId "` + shared + `": the same credentialId is there for "eve"` + "\n",
			`username "x\u202e\nééé`, `", credentialId "` + odd + `": username is longer than the 64 bytes`,
			"1 user, 2 passkeys; 5 rows left out; 1 passkey got another name\n", `not looked at, because Janus does not write them: the attributes ["colour"]`,
		}
		n.moves(1, append(want, "would import ", "not every row would be imported"), "--dry-run")
		n.unwritten()
		n.moves(1, append(want, "\nimported ", "not every row was imported"))
		n.moves(1, []string{"\nimported 0 users, 0 passkeys; 1 user was there already; 5 rows left out", "not every row was imported"})
	})
}

// Nothing is written before the whole table was read, and an import that is broken off goes on when it is run again.
func TestJanusImportBrokenOff(t *testing.T) {
	onEachStore(t, func(t *testing.T, on store) {
		n := newNewcomer(t, on)
		n.moves(1, []string{"the table has no rows"})
		for i := range 12 {
			n.janus.register(fmt.Sprintf("user%02d", i), "Key", authtest.New(authtest.Config{}))
		}
		lift := n.between.Inject(faulttest.Fault{Operation: "Scan", Table: n.janus.name, Kind: faulttest.AccessDenied})
		n.moves(1, []string{"may not call dynamodb:Scan on the table", "allow dynamodb:Scan on this table", "nothing was written"})
		lift()
		n.unwritten()

		// Interrupted while the table is read.
		lift = n.between.Inject(faulttest.Fault{Operation: "Scan", Table: n.janus.name, Kind: faulttest.Hang})
		command, out := n.command(n.flags()...), new(strings.Builder)
		command.Stdout, command.Stderr = out, out
		must(t, command.Start())
		n.between.Await(1)
		must(t, command.Process.Signal(syscall.SIGINT))
		if err := command.Wait(); err == nil || !strings.Contains(out.String(), "interrupted; nothing was written") {
			t.Errorf("%v:\n%s", err, out)
		}
		lift()
		n.unwritten()

		// Throttled for a while.
		n.between.Inject(faulttest.Fault{Operation: "Scan", Table: n.janus.name, Kind: faulttest.Throttle, Count: 10})
		if n.tables != nil {
			lift := n.between.Inject(faulttest.Fault{Operation: "TransactWriteItems", Table: n.tables.passkeys, Kind: faulttest.AccessDenied, Skip: 5})
			n.moves(1, []string{"done so far: ", "run the same command again to go on"})
			lift()
			if items := n.tables.items(n.tables.passkeys); items == 0 {
				t.Error("it was broken off before it wrote anything")
			}
			n.moves(0, []string{"were there already\n"})
		} else {
			n.moves(0, []string{"\nimported 12 users, 12 passkeys\n"})
		}
		n.moves(0, []string{"\nimported 0 users, 0 passkeys; 12 users were there already\n"})
		if out, code := n.call("export", "--config", "Caddyfile"); code != 0 || strings.Count(out, `"backup_unknown":true`) != 12 {
			t.Errorf("%d\n%s", code, out)
		}
	})
}

// Where all sites fold names, so does the import, and two names that become one are refused, both.
func TestJanusFoldedNames(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t, onFile)
	first := n.janus.register("Justin.Rowles", "Key", authtest.New(authtest.Config{}))
	second := n.janus.register("justin.rowles", "Key", authtest.New(authtest.Config{}))
	n.janus.register("Ada", "Key", authtest.New(authtest.Config{}))
	n.moves(0, []string{"would import 3 users, 3 passkeys\n"}, "--dry-run")
	n.configure(headerConsole("", "fold_user"))
	n.moves(1, []string{
		`username "Justin.Rowles", credentialId "` + first + `": it would be the user "justin.rowles@example.com", as "justin.rowles" would` + "\n",
		`username "justin.rowles", credentialId "` + second + `": it would be the user "justin.rowles@example.com", as "Justin.Rowles" would` + "\n",
		"\nimported 1 user, 1 passkey; 2 rows left out\n",
	})
	if out, code := n.call("export", "--config", "Caddyfile"); code != 0 || !strings.Contains(out, `{"user":"ada@example.com"`) {
		t.Errorf("%d\n%s", code, out)
	}
}
