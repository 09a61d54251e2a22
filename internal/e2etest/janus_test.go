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

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/fxamacker/cbor/v2"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// janusTable is a table of passkeys as Janus makes it, in the DynamoDB Local that all tests share.
type janusTable struct {
	*gatewaytest.Tables
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
	j := &janusTable{Tables: &gatewaytest.Tables{T: t, Endpoint: gatewaytest.Local(t)}, name: name}
	type m = map[string]any
	j.Call("CreateTable", m{
		"TableName": name, "ProvisionedThroughput": m{"ReadCapacityUnits": 15, "WriteCapacityUnits": 15},
		"KeySchema":            []m{{"AttributeName": "username", "KeyType": "HASH"}, {"AttributeName": "credentialId", "KeyType": "RANGE"}},
		"AttributeDefinitions": []m{{"AttributeName": "username", "AttributeType": "S"}, {"AttributeName": "credentialId", "AttributeType": "S"}},
	})
	return j
}

func (j *janusTable) put(row map[string]typed) {
	j.T.Helper()
	j.rows++
	j.Call("PutItem", map[string]any{"TableName": j.name, "Item": row})
}

// register lets an authenticator make a passkey with the options that Janus gives, and writes the row that Janus does, after
// the changes.
func (j *janusTable) register(user, name string, key *authtest.Authenticator, changes ...func(map[string]typed)) (id string) {
	j.T.Helper()
	type m = map[string]any
	options, err := json.Marshal(m{"publicKey": m{
		"rp": m{"id": "localhost", "name": "Janus-Test"}, "challenge": encoded([]byte("sixteen bytes ok")),
		"user":                   m{"id": encoded([]byte(user)), "name": user, "displayName": "Somebody"},
		"pubKeyCredParams":       []m{{"type": "public-key", "alg": -8}, {"type": "public-key", "alg": -7}, {"type": "public-key", "alg": -257}},
		"authenticatorSelection": m{"residentKey": "discouraged", "requireResidentKey": false, "userVerification": "required"},
		"attestation":            "direct",
	}})
	gatewaytest.Must(j.T, err)
	reply, err := key.Register(options, "http://localhost")
	gatewaytest.Must(j.T, err)
	var credential struct {
		ID       string
		Response struct{ AttestationObject string }
	}
	gatewaytest.Must(j.T, json.Unmarshal(reply, &credential))
	var object struct {
		AuthData []byte `cbor:"authData"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(credential.Response.AttestationObject)
	gatewaytest.Must(j.T, err)
	gatewaytest.Must(j.T, cbor.Unmarshal(raw, &object))
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
func items(d *gatewaytest.Tables, table string) int {
	d.T.Helper()
	var answer struct{ Count int }
	gatewaytest.Must(d.T, json.Unmarshal(d.Call("Scan", map[string]any{"TableName": table, "ConsistentRead": true}), &answer))
	return answer.Count
}

// newcomer is a gateway that does not run yet, for people who come from Janus.
type newcomer struct {
	*gatewaytest.Gateway
	janus   *janusTable
	tables  *gatewaytest.Tables // nil on a file
	between *faulttest.Proxy    // what stands before DynamoDB, for Janus's table and ours
}

func newNewcomer(t *testing.T, on gatewaytest.Store) *newcomer {
	t.Helper()
	n := &newcomer{Gateway: gatewaytest.Prepare(t), janus: newJanusTable(t), between: faulttest.New(t, gatewaytest.Local(t))}
	if on == gatewaytest.OnDynamoDB {
		n.tables = gatewaytest.NewTables(t)
		n.Uses(n.tables, n.between.URL, gatewaytest.NewKey(n.Gateway))
	} else {
		n.Environment = []string{"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=" + gatewaytest.SecretAccessKey, "AWS_EC2_METADATA_DISABLED=true"}
	}
	n.Configure(gatewaytest.HeaderConsole("", vault))
	return n
}

func (n *newcomer) flags(more ...string) []string {
	return append([]string{
		"import", "--config", "Caddyfile", "--from", "janus", "--table", n.janus.name, "--region", gatewaytest.Region, "--endpoint", n.between.URL,
		"--user-suffix", "@example.com",
	}, more...)
}

// moves runs the import and holds what it ends with, and what it says.
func (n *newcomer) moves(code int, want []string, more ...string) string {
	n.T.Helper()
	out, got := n.Call(n.flags(more...)...)
	if got != code {
		n.T.Errorf("%v: exit code %d, want %d:\n%s", more, got, code, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			n.T.Errorf("%v: does not say %q:\n%s", more, text, out)
		}
	}
	if strings.Contains(out, gatewaytest.SecretAccessKey) {
		n.T.Errorf("%v: shows a secret:\n%s", more, out)
	}
	return out
}

// unwritten holds that nothing was written.
func (n *newcomer) unwritten() {
	n.T.Helper()
	if n.tables != nil {
		if items := items(n.tables, n.tables.Passkeys); items != 0 {
			n.T.Errorf("%d items were written", items)
		}
	} else if _, err := os.Stat(filepath.Join(n.Folder, "stepgate.db")); err == nil {
		n.T.Error("a file was written")
	}
}

// People go on with the passkeys that they had at Janus. What those are is learned once, and never where it decides.
func TestMovingInFromJanus(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
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
		if rows := items(n.janus.Tables, n.janus.name); rows != 3 {
			t.Errorf("Janus's table has %d rows now", rows)
		}

		n.Run()
		ada := gatewaytest.NewClient(t, n.Gateway, "ada@example.com")
		ada.Key = bound
		vaulted := map[string]any{"return_to": "/vault/x"}
		gatewaytest.Must(t, ada.Post("/.stepgate/challenge/options", vaulted).Refused(409, "level_unreachable"))
		if _, err := ada.BeginRegistration(authtest.New(authtest.Config{}), "Another", nil); err == nil || !strings.Contains(err.Error(), "authorization_needed") {
			t.Errorf("first use is open for somebody who was imported: %v", err)
		}
		answer, err := ada.StepUp("/keys")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		if e := n.Audited("ceremony_finished", ""); e.User != ada.User || e.Level != "verified" {
			t.Errorf("audited %+v", e)
		}
		if e := n.Audited("backup_learned", ""); e.User != ada.User || e.Level != "device_bound" || e.Passkey == "" {
			t.Errorf("audited %+v", e)
		}
		gatewaytest.Must(t, ada.Get("/keys").Expect(200))
		gatewaytest.Must(t, ada.Get("/vault/x").Refused(401, "grant_level"))
		answer, err = ada.StepUp("/vault/x")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		gatewaytest.Must(t, ada.Get("/vault/x").Expect(200))

		bob := gatewaytest.NewClient(t, n.Gateway, "bob@example.com")
		bob.Key = synced
		answer, err = bob.StepUp("/keys")
		gatewaytest.Must(t, err)
		gatewaytest.Must(t, answer.Expect(200))
		if e := n.Audited("backup_learned", ""); e.User != bob.User || e.Level != "verified" {
			t.Errorf("audited %+v", e)
		}
		gatewaytest.Must(t, bob.Post("/.stepgate/challenge/options", vaulted).Refused(409, "level_unreachable"))
		if learned := strings.Count(n.Log.Text(), `"backup_learned"`); learned != 2 {
			t.Errorf("%d were learned", learned)
		}
	})
}

// Each row that can't be taken is named, with its reason; the others are taken, and a repetition changes nothing.
func TestJanusRowsLeftOut(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		n := newNewcomer(t, on)
		key := func() *authtest.Authenticator { return authtest.New(authtest.Config{}) }
		n.janus.register("ada", "Laptop", key())
		n.janus.register("ada", "laptop", key())
		zombie := encoded([]byte("a removed passkey"))
		n.janus.put(map[string]typed{"username": text("ada"), "credentialId": text(zombie), "authCounter": number("9")})
		date := n.janus.register("bob", "Key", key(), changed("registrationTime", text("yesterday")))
		shared := n.janus.register("eve", "Key", key())
		var row struct{ Item map[string]typed }
		gatewaytest.Must(t, json.Unmarshal(n.janus.Call("GetItem", map[string]any{
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
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
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
		command, out := n.Command(n.flags()...), new(strings.Builder)
		command.Stdout, command.Stderr = out, out
		gatewaytest.Must(t, command.Start())
		n.between.Await(1)
		gatewaytest.Must(t, command.Process.Signal(syscall.SIGINT))
		if err := command.Wait(); err == nil || !strings.Contains(out.String(), "interrupted; nothing was written") {
			t.Errorf("%v:\n%s", err, out)
		}
		lift()
		n.unwritten()

		// Throttled for a while.
		n.between.Inject(faulttest.Fault{Operation: "Scan", Table: n.janus.name, Kind: faulttest.Throttle, Count: 10})
		if n.tables != nil {
			lift := n.between.Inject(faulttest.Fault{Operation: "TransactWriteItems", Table: n.tables.Passkeys, Kind: faulttest.AccessDenied, Skip: 5})
			n.moves(1, []string{"done so far: ", "run the same command again to go on"})
			lift()
			if items := items(n.tables, n.tables.Passkeys); items == 0 {
				t.Error("it was broken off before it wrote anything")
			}
			n.moves(0, []string{"were there already\n"})
		} else {
			n.moves(0, []string{"\nimported 12 users, 12 passkeys\n"})
		}
		n.moves(0, []string{"\nimported 0 users, 0 passkeys; 12 users were there already\n"})
		if out, code := n.Call("export", "--config", "Caddyfile"); code != 0 || strings.Count(out, `"backup_unknown":true`) != 12 {
			t.Errorf("%d\n%s", code, out)
		}
	})
}

// Where all sites fold names, so does the import, and two names that become one are refused, both.
func TestJanusFoldedNames(t *testing.T) {
	t.Parallel()
	n := newNewcomer(t, gatewaytest.OnFile)
	first := n.janus.register("Justin.Rowles", "Key", authtest.New(authtest.Config{}))
	second := n.janus.register("justin.rowles", "Key", authtest.New(authtest.Config{}))
	n.janus.register("Ada", "Key", authtest.New(authtest.Config{}))
	n.moves(0, []string{"would import 3 users, 3 passkeys\n"}, "--dry-run")
	n.Configure(gatewaytest.HeaderConsole("", "fold_user"))
	n.moves(1, []string{
		`username "Justin.Rowles", credentialId "` + first + `": it would be the user "justin.rowles@example.com", as "justin.rowles" would` + "\n",
		`username "justin.rowles", credentialId "` + second + `": it would be the user "justin.rowles@example.com", as "Justin.Rowles" would` + "\n",
		"\nimported 1 user, 1 passkey; 2 rows left out\n",
	})
	if out, code := n.Call("export", "--config", "Caddyfile"); code != 0 || !strings.Contains(out, `{"user":"ada@example.com"`) {
		t.Errorf("%d\n%s", code, out)
	}
}
