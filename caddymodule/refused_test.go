package caddymodule_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// validate does what `stepgate validate` does: it provisions a configuration and starts nothing.
func validate(config []byte) error {
	var c *caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &c); err != nil {
		return err
	}
	return caddy.Validate(c)
}

const quiet = `"admin": {"disabled": true}, "logging": {"logs": {"default": {"writer": {"output": "discard"}}}}`

// jsonConfig is a configuration of one app and one handler.
func jsonConfig(app, handler string) []byte {
	return fmt.Appendf(nil, `{%s, "apps": {"stepgate": %s, "http": {"servers": {"main": {"listen": ["127.0.0.1:1"], "routes": [{"handle": [%s]}]}}}}}`,
		quiet, app, handler)
}

const (
	plainApp     = `{"rp_id": "example.com"}`
	plainHandler = `{"handler": "stepgate"}`
)

// What the Caddyfile refuses its JSON twin refuses too, and says where: the adapter is not the guard.
func TestAppRefusedAsJSON(t *testing.T) {
	const good = "sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	secrets := map[string]string{
		"SG_GOOD": good, "SG_SHORT": "sgk_AAECAwQFBgcICQoLDA0ODxA", "SG_BARE": strings.TrimPrefix(good, "sgk_"), "SG_EMPTY": "",
		"SG_TWICE": good + "\n" + good, "SG_WEAK": "sgk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "SG_BLANK": " , ", "SG_MDS": "http://mds.example.com/",
	}
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	folder := t.TempDir()
	for app, want := range map[string]string{
		`{}`:                                     "stepgate: rp_id is missing",
		`{"rp_id": "example.com", "realm": "x"}`: `unknown field "realm"`,
		`{"rp_id": "https://example.com"}`:       "is no domain as browsers write it",
		`{"rp_id": "example.com:443"}`:           "is no domain as browsers write it",
		`{"rp_id": "Example.com"}`:               "is no domain as browsers write it",
		`{"rp_id": "192.0.2.1"}`:                 "the value must be a domain and not an IP address",
		`{"rp_id": "example.com."}`:              "is no domain as browsers write it",
		`{"rp_id": "*.example.com"}`:             "is no domain as browsers write it",
		`{"rp_id": "example.com", "origins": ["https://example.org"]}`:                                                                                                    `origin "https://example.org" does not lie within rp_id "example.com"`,
		`{"rp_id": "example.com", "origins": ["https://badexample.com"]}`:                                                                                                 `origin "https://badexample.com" does not lie within rp_id "example.com"`,
		`{"rp_id": "example.com", "origins": ["https://example.com.evil.org"]}`:                                                                                           `does not lie within rp_id`,
		`{"rp_id": "example.com", "origins": ["http://example.com"]}`:                                                                                                     "must be https",
		`{"rp_id": "example.com", "origins": ["https://example.com:443"]}`:                                                                                                "leave out the port 443",
		`{"rp_id": "example.com", "origins": ["https://example.com:0"]}`:                                                                                                  "no such port",
		`{"rp_id": "example.com", "origins": ["https://a.example.com:08443"]}`:                                                                                            `origin "https://a.example.com:08443": write https://a.example.com:8443, as browsers do`,
		`{"rp_id": "example.com", "origins": ["https://example.com:00443"]}`:                                                                                              "leave out the port 443",
		`{"rp_id": "localhost", "origins": ["http://localhost:080"]}`:                                                                                                     "leave out the port 80",
		`{"rp_id": "example.com", "origins": ["https://example.com:00"]}`:                                                                                                 "no such port",
		`{"rp_id": "example.com", "related_origins": ["https://example.org:08443"]}`:                                                                                      `related_origins: origin "https://example.org:08443": write https://example.org:8443, as browsers do`,
		`{"rp_id": "example.com", "origins": ["https://user@example.com"]}`:                                                                                               "must be scheme and host only",
		`{"rp_id": "example.com", "origins": [""]}`:                                                                                                                       "must be scheme and host only",
		`{"rp_id": "example.com", "origins": ["https://example.com", "https://*.a.com"]}`:                                                                                 `"https://*.a.com": the host must be a domain`,
		`{"rp_id": "example.com", "origins": ["https://*.example.com"]}`:                                                                                                  `"https://*.example.com": the host must be a domain`,
		`{"rp_id": "example.com", "origins": ["https://example.com", "https://example.com"]}`:                                                                             `origin "https://example.com" is listed twice`,
		`{"rp_id": "example.com", "related_origins": ["https://console.example.com"]}`:                                                                                    `related_origins: origin "https://console.example.com" lies within rp_id "example.com": it belongs to ` + "`origins`" + ``,
		`{"rp_id": "example.com", "related_origins": ["https://example.com"]}`:                                                                                            `it belongs to `,
		`{"rp_id": "localhost", "origins": ["http://localhost:1"], "related_origins": ["https://example.org"]}`:                                                           `related_origins: rp_id localhost can't have any`,
		`{"rp_id": "example.com", "related_origins": ["http://example.org"]}`:                                                                                             `related_origins: origin "http://example.org": must be https`,
		`{"rp_id": "example.com", "related_origins": ["http://localhost"]}`:                                                                                               `a related origin must be https`,
		`{"rp_id": "example.com", "related_origins": ["https://localhost"]}`:                                                                                              `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://intranet"]}`:                                                                                               `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://co.uk"]}`:                                                                                                  `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://a..org"]}`:                                                                                                 `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://192.0.2.1"]}`:                                                                                              `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://192.0.2.1:8443"]}`:                                                                                         `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://ops.0x7f"]}`:                                                                                               `browsers take only a registered domain`,
		`{"rp_id": "example.com", "related_origins": ["https://[2001:db8::1]"]}`:                                                                                          `the host must be a domain`,
		`{"rp_id": "example.com", "related_origins": ["https://Example.org"]}`:                                                                                            `must be in lower case`,
		`{"rp_id": "example.com", "related_origins": ["https://example.org:443"]}`:                                                                                        `leave out the port 443`,
		`{"rp_id": "example.com", "related_origins": ["https://example.org/"]}`:                                                                                           `must be scheme and host only`,
		`{"rp_id": "example.com", "related_origins": ["https://*.example.org"]}`:                                                                                          `the host must be a domain`,
		`{"rp_id": "example.com", "related_origins": [""]}`:                                                                                                               `must be scheme and host only`,
		`{"rp_id": "example.com", "related_origins": ["https://example.org", "https://example.org"]}`:                                                                     `origin "https://example.org" is listed twice`,
		`{"rp_id": "example.com", "related_origins": ["https://a.org", "https://b.org", "https://c.org", "https://d.org", "https://e.org"]}`:                              `together with origins these are 6 different names (example, a, b, c, d, e): browsers take 5 at most`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.X-Auth-Time}"}`:                                                                                   `sign_in_within: 0s: must be from 1m to 24h`,
		`{"rp_id": "example.com", "sign_in_within": "10m"}`:                                                                                                               `sign_in_within: there is no sign_in_time`,
		`{"rp_id": "example.com", "registration": "invite", "sign_in_time": "{http.request.header.X-Auth-Time}", "sign_in_within": "10m"}`:                                `sign_in_time: with registration invite no sign-in registers a passkey`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.X-Auth-Time}", "sign_in_within": -1}`:                                                             `sign_in_within: -1ns: must be from 1m to 24h`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.X-Auth-Time}", "sign_in_within": "59s"}`:                                                          `sign_in_within: 59s: must be from 1m to 24h`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.X-Auth-Time}", "sign_in_within": "86401s"}`:                                                       `sign_in_within: 24h0m1s: must be from 1m to 24h`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.A}{http.request.header.B}", "sign_in_within": "10m"}`:                                             `sign_in_time: "{http.request.header.A}{http.request.header.B}": must be exactly one placeholder`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.uri.query.t}", "sign_in_within": "10m"}`:                                                                 `sign_in_time: "{http.request.uri.query.t}": clients write this themselves`,
		`{"rp_id": "example.com", "sign_in_time": "{http.request.header.Cookie}", "sign_in_within": "10m"}`:                                                               `clients write this themselves`,
		`{"rp_id": "example.com", "sign_in_time": "{time.now.unix}", "sign_in_within": "10m"}`:                                                                            `sign_in_time: "{time.now.unix}": this says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{time.now.rfc3339}", "sign_in_within": "10m"}`:                                                                         `says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{env.NOW}", "sign_in_within": "10m"}`:                                                                                  `says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{file./now}", "sign_in_within": "10m"}`:                                                                                `says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{system.wd}", "sign_in_within": "10m"}`:                                                                                `says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{http.time_until_shutdown}", "sign_in_within": "10m"}`:                                                                 `says nothing about who is there`,
		`{"rp_id": "example.com", "sign_in_time": "{header.X-Auth-Time}", "sign_in_within": "10m"}`:                                                                       `sign_in_time: "{header.X-Auth-Time}" is short for {http.request.header.X-Auth-Time} in a Caddyfile only`,
		`{"rp_id": "example.com", "registration": "open"}`:                                                                                                                `registration: "open": must be first_use or invite`,
		`{"rp_id": "example.com", "recovery_codes": "sometimes"}`:                                                                                                         `recovery_codes: "sometimes": must be on or off`,
		`{"rp_id": "example.com", "attestation": {"level": 3}}`:                                                                                                           `unknown field "level"`,
		`{"rp_id": "example.com", "attestation": {"metadata": "http://mds.example.com/"}}`:                                                                                "stepgate: attestation: metadata: must be a file or an https address",
		`{"rp_id": "example.com", "attestation": {"metadata": "https://me:secret@mds.example.com/"}}`:                                                                     "attestation: metadata: must hold no user or password",
		`{"rp_id": "example.com", "attestation": {"metadata": "{env.SG_MDS}"}}`:                                                                                           "attestation: metadata: must be a file or an https address",
		`{"rp_id": "example.com", "attestation": {"metadata": "{env.SG_EMPTY}"}}`:                                                                                         "attestation: metadata: ",
		`{"rp_id": "example.com", "attestation": {"root": "root.pem"}}`:                                                                                                   "attestation: root: the metadata is the FIDO Alliance's",
		`{"rp_id": "example.com", "attestation": {"allow": ["x"]}}`:                                                                                                       `attestation: allow: "x" is no AAGUID`,
		`{"rp_id": "example.com", "attestation": {"allow": ["{ee882879-721c-4913-9775-3dfcce97072a}"]}}`:                                                                  `is no AAGUID`,
		`{"rp_id": "example.com", "attestation": {"deny": ["00000000-0000-0000-0000-000000000000"]}}`:                                                                     `attestation: deny: the AAGUID of zeros`,
		`{"rp_id": "example.com", "attestation": {"deny": ["ee882879-721c-4913-9775-3dfcce97072a", "ee882879-721c-4913-9775-3dfcce97072a"]}}`:                             `attestation: deny: ee882879-721c-4913-9775-3dfcce97072a is listed twice`,
		`{"rp_id": "example.com", "attestation": {"allow": ["ee882879-721c-4913-9775-3dfcce97072a"], "deny": ["ee882879-721c-4913-9775-3dfcce97072a"]}}`:                  `is in allow too`,
		`{"rp_id": "example.com", "recovery_level": "present"}`:                                                                                                           `recovery_level: "present": must be verified, device_bound or attested`,
		`{"rp_id": "example.com", "recovery_codes": "off", "recovery_level": "verified"}`:                                                                                 `recovery_level says what recovery codes reach, but recovery_codes is off`,
		`{"rp_id": "example.com", "recovery_level": "attested"}`:                                                                                                          "recovery_level: `attested` needs the block attestation",
		`{"rp_id": "example.com", "counter": "ignore"}`:                                                                                                                   `counter: "ignore": must be reject or warn`,
		`{"rp_id": "example.com", "challenge_ttl": "29s"}`:                                                                                                                "challenge_ttl: 29s: must be from 30s to 1h",
		`{"rp_id": "example.com", "challenge_ttl": -1}`:                                                                                                                   "challenge_ttl: -1ns: must be from 30s to 1h",
		`{"rp_id": "example.com", "max_passkeys": -1}`:                                                                                                                    "max_passkeys: -1: must be from 1 to 100",
		`{"rp_id": "example.com", "max_passkeys": 101}`:                                                                                                                   "max_passkeys: 101: must be from 1 to 100",
		`{"rp_id": "example.com", "revocation_lag": "-1s"}`:                                                                                                               "revocation_lag: -1s: must be from 0 to 1m",
		`{"rp_id": "example.com", "revocation_lag": "61s"}`:                                                                                                               "revocation_lag: 1m1s: must be from 0 to 1m",
		`{"rp_id": "example.com", "store": {"module": "dynamodb"}}`:                                                                                                       "make a key with `stepgate keygen`",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "region": "EU"}}`:                                                      "store dynamodb: \"EU\" is no AWS region",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "region": "eu-west-1.evil.example"}}`:                                  "is no AWS region",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "region": "{env.SG_EMPTY}"}}`:                                          "store dynamodb: region:",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "region": "{env.SG_NONE}"}}`:                                           "store dynamodb: region:",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "ftp://localhost:8000"}}`:                                  "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://:8000"}}`:                                          "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://localhost:99999"}}`:                                "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://localhost:"}}`:                                     "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://localhost:8000/dynamodb"}}`:                        "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://key:secret@localhost:8000"}}`:                      "an endpoint holds no user or password",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://localhost:8000?x=1"}}`:                             "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://localhost:8000#x"}}`:                               "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "endpoint": "http://[::1"}}`:                                           "is no endpoint",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "passkeys_table": "a/b"}}`:                                             "can't be a table's name",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "passkeys_table": "arn:aws:dynamodb:eu-west-1:123456789012:table/X"}}`: "can't be a table's name",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "challenges_table": "StepgatePasskeys"}}`:                              "passkeys and challenges need a table each",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}"], "store": {"module": "dynamodb", "ttl": "5m"}}`:                                                         "unknown field \"ttl\"",
		`{"rp_id": "example.com", "store": {"module": "redis"}}`:                                                                                                          "unknown module: stepgate.stores.redis",
		`{"rp_id": "example.com", "store": {"module": "file", "sync": false}}`:                                                                                            `unknown field "sync"`,
		`{"rp_id": "example.com", "store": {"path": "x.db"}}`:                                                                                                             "loading store",
		`{"rp_id": "example.com", "store": null}`:                                                                                                                         "loading store",
		`{"rp_id": "example.com", "store": {"module": "file", "path": "{env.SG_NONE}/x"}}`:                                                                                "loading store",
		`{"rp_id": "example.com", "store": {"module": "file", "path": "/x/stepgate.keys"}}`:                                                                               "the ending .keys is that of the file with the grant keys",
		`{"rp_id": "example.com", "grant_keys": ["` + good + `"]}`:                                                                                                        "grant_keys, number 1: must be a placeholder",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}", "x{env.SG_GOOD}"]}`:                                                                                     "grant_keys, number 2: must be a placeholder",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}{env.SG_TWICE}"]}`:                                                                                         "must be a placeholder",
		`{"rp_id": "example.com", "grant_keys": ["{env.}"]}`:                                                                                                              "must be a placeholder",
		`{"rp_id": "example.com", "grant_keys": [""]}`:                                                                                                                    "must be a placeholder",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_NONE}"]}`:                                                                                                       "grant_keys: {env.SG_NONE} holds nothing",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_EMPTY}"]}`:                                                                                                      "grant_keys: {env.SG_EMPTY} holds nothing",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_BLANK}"]}`:                                                                                                      "no grant key given",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_SHORT}"]}`:                                                                                                      "not a grant key",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_BARE}"]}`:                                                                                                       "not a grant key",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_WEAK}"]}`:                                                                                                       "a grant key is not random",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_TWICE}"]}`:                                                                                                      "a grant key is given twice",
		`{"rp_id": "example.com", "grant_keys": ["{env.SG_GOOD}", "{env.SG_GOOD}"]}`:                                                                                      "a grant key is given twice",
		`{"rp_id": "example.com", "grant_keys": ["{file.` + folder + `/none}"]}`:                                                                                          "holds nothing",
	} {
		t.Run(app, func(t *testing.T) {
			err := validate(jsonConfig(app, plainHandler))
			wantError(t, err, "stepgate", want)
			for _, secret := range secrets {
				if secret = strings.TrimPrefix(secret, "sgk_"); err != nil && len(secret) > 3 && strings.Contains(err.Error(), secret) {
					t.Error("the error holds the key")
				}
			}
		})
	}
	if left, _ := filepath.Glob(folder + "/*"); len(left) > 0 {
		t.Errorf("validating made %v", left)
	}
}

func TestHandlerRefusedAsJSON(t *testing.T) {
	for handler, want := range map[string]string{
		`"protect_all": true`:                                        `unknown field "protect_all"`,
		`"user": "alice"`:                                            `user: "alice": must be exactly one placeholder`,
		`"user": "{http.request.cookie.user}"`:                       "clients write this themselves",
		`"user": "{http.request.uri.query.user}"`:                    "clients write this themselves",
		`"user": "{http.request.orig_uri.query}"`:                    "clients write this themselves",
		`"user": "{http.request.header.cookie}"`:                     "clients write this themselves",
		`"user": "{http.regexp.who.1}"`:                              "clients write this themselves",
		`"user": "{http.matchers.file.relative}"`:                    "clients write this themselves",
		`"user": "{env.USER}"`:                                       `user: "{env.USER}": this says nothing about who is there`,
		`"user": "{system.hostname}"`:                                "says nothing about who is there",
		`"user": "{time.now.year}"`:                                  "says nothing about who is there",
		`"user": "{file./etc/hostname}"`:                             "says nothing about who is there",
		`"user": "{http.shutting_down}"`:                             "says nothing about who is there",
		`"bind_session": "{env.SESSION}"`:                            `bind_session: "{env.SESSION}": this says nothing about who is there`,
		`"bind_session": "{time.now}"`:                               "says nothing about who is there",
		`"bind_session": "{http.request.cookie.}"`:                   "names no cookie",
		`"user": "{http.request.header.x-stepgate-user}"`:            "the gate sets these headers itself",
		`"user": "{http.request.header.X-A}{http.auth.user.id}"`:     "must be exactly one placeholder",
		`"bind_session": "sid"`:                                      `bind_session: "sid": must be exactly one placeholder`,
		`"bind_session": "{http.request.body_base64}"`:               "the gate does not read bodies",
		`"path": "stepgate"`:                                         "path must begin with a slash",
		`"path": "/a/../b"`:                                          "path must begin with a slash",
		`"path": "/a b"`:                                             "path must begin with a slash",
		`"ambiguous_paths": "allow"`:                                 `ambiguous_paths: "allow": must be refuse or strictest`,
		`"mode": "Enforce"`:                                          `mode: "Enforce": must be enforce, if_enrolled or report`,
		`"enforce_from": "tomorrow"`:                                 `enforce_from: "tomorrow" is no time`,
		`"mode": "report", "enforce_from": "2026-12-01T09:00:00Z"`:   "enforce_from goes with `mode enforce`",
		`"once": true`:                                               "`once` is not built yet",
		`"max_age": 0`:                                               "max_age: 0 would let nothing pass",
		`"max_age": "-5m"`:                                           "max_age: -5m0s: must be positive",
		`"max_age": "soon"`:                                          "soon",
		`"level": "attested"`:                                        "stepgate: level: level attested needs to know which makers of authenticators to trust: add `attestation` to the global option stepgate",
		`"level": "strong"`:                                          `level: "strong": must be present, verified, device_bound or attested`,
		`"rules": [null]`:                                            "rules[0]: there is no rule",
		`"rules": [{}]`:                                              `rules[0]: action "": must be open or protect`,
		`"rules": [{"action": "Open", "match": [{"path": ["/x"]}]}]`: `rules[0]: action "Open": must be open or protect`,
		`"rules": [{"action": "open"}]`:                              "rules[0]: no matcher given",
		`"rules": [{"action": "open", "match": null}]`:               "rules[0]: no matcher given",
		`"rules": [{"action": "open", "match": []}]`:                 "rules[0]: no matcher given",
		`"rules": [{"action": "open", "match": [{}]}]`:               "rules[0]: an empty matcher would match every request",
		`"rules": [{"action": "open", "match": [null]}]`:             "rules[0]: an empty matcher would match every request",
		`"rules": [` + open + `, {"action": "open", "match": [{"path": ["/x"]}, {}]}]`:                                                 "rules[1]: an empty matcher would match every request",
		`"rules": [{"action": "open", "match": [{"path": []}]}]`:                                                                       "rules[0]: matcher path is empty",
		`"rules": [{"action": "protect", "match": [{"path": ["/%40scope/*"]}]}]`:                                                       `rules[0]: path "/%40scope/*" holds an escape`,
		`"rules": [{"action": "open", "match": [{"not": [{"path": ["/a%20b"]}]}]}]`:                                                    `rules[0]: not: path "/a%20b" holds an escape`,
		`"rules": [{"action": "protect", "match": [{"path": ["/cafe\u0301/*"]}]}]`:                                                     `rules[0]: path "/café/*" matches only what is spelled like it: write "/café/*"`,
		`"rules": [{"action": "open", "match": [{"path": null}]}]`:                                                                     "rules[0]: matcher path is empty",
		`"rules": [{"action": "open", "match": [{"header": {}}]}]`:                                                                     "rules[0]: matcher header is empty",
		`"rules": [{"action": "open", "match": [{"query": {}}]}]`:                                                                      "rules[0]: matcher query is empty",
		`"rules": [{"action": "open", "match": [{"path_regexp": {}}]}]`:                                                                "rules[0]: matcher path_regexp is empty",
		`"rules": [{"action": "open", "match": [{"expression": ""}]}]`:                                                                 "rules[0]: matcher expression is empty",
		`"rules": [{"action": "open", "match": [{"not": []}]}]`:                                                                        "rules[0]: matcher not is empty",
		`"rules": [{"action": "open", "match": [{"not": [{}]}]}]`:                                                                      "rules[0]: not: an empty matcher would match every request",
		`"rules": [{"action": "open", "match": [{"not": [{"path": []}]}]}]`:                                                            "rules[0]: not: matcher path is empty",
		`"rules": [{"action": "protect", "match": [{"method": ["delete"]}]}]`:                                                          `rules[0]: method "delete" matches nothing`,
		`"rules": [{"action": "open", "match": [{"path": ["/x", "/*"]}]}]`:                                                             `rules[0]: path "/*" would open every request`,
		`"rules": [{"action": "open", "match": [{"path": ["{env.NONE}/*"]}]}]`:                                                         `rules[0]: path "{env.NONE}/*" holds a placeholder`,
		`"rules": [{"action": "protect", "match": [{"path": ["/x/{http.request.header.X}"]}]}]`:                                        `reads {http.request.header.X}`,
		`"rules": [{"action": "open", "match": [{"path_regexp": {"name": "x"}}]}]`:                                                     "rules[0]: path_regexp without a pattern",
		`"rules": [{"action": "open", "match": [{"vars": {"{http.request.header.X}": ["a"]}}]}]`:                                       "matcher vars reads {http.request.header.X}",
		`"rules": [{"action": "open", "match": [{"expression": "{http.request.uri.path}.startsWith('/x')"}]}]`:                         "matcher expression reads {http.request.uri.path}",
		`"rules": [{"action": "open", "match": [{"expression": "{http.request.\u006dethod} == 'GET'"}]}]`:                              "matcher expression reads {http.request.method}",
		`"rules": [{"action": "open", "match": [{"host": ["\u007bhttp.request.uri.path}"]}]}]`:                                         "matcher host reads {http.request.uri.path}",
		`"rules": [{"action": "open", "match": [{"not": [{"header": {"X": ["{http.request.method}"]}}]}]}]`:                            "reads {http.request.method}",
		`"rules": [{"action": "protect", "match": [{"path": ["x/*"]}]}]`:                                                               `rules[0]: path "x/*" matches nothing`,
		`"rules": [{"action": "protect", "match": [{"path": [""]}]}]`:                                                                  `rules[0]: path "" matches nothing`,
		`"rules": [{"action": "protect", "match": [{"path": "/x"}]}]`:                                                                  "rules[0]: ",
		`"rules": [{"action": "protect", "match": [{"paths": ["/x"]}]}]`:                                                               "unknown module: http.matchers.paths",
		`"rules": [{"action": "open", "match": [{"path": ["/x"]}], "max_age": "5m"}]`:                                                  "rules[0]: an open rule demands nothing",
		`"rules": [{"action": "open", "match": [{"path": ["/x"]}], "level": "present"}]`:                                               "rules[0]: an open rule demands nothing",
		`"rules": [{"action": "open", "match": [{"path": ["/x"]}], "once": true}]`:                                                     "rules[0]: `once` is not built yet",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "once": true}]`:                                                  "rules[0]: `once` is not built yet",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "max_age": 0}]`:                                                  "rules[0]: max_age: 0 would let nothing pass",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "max_age": -1}]`:                                                 "rules[0]: max_age: -1ns: must be positive",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "level": "attested"}]`:                                           "rules[0]: level: level attested needs to know which makers of authenticators to trust: add `attestation` to the global option stepgate",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "mode": "off"}]`:                                                 `rules[0]: mode: "off": must be enforce, if_enrolled or report`,
		`"mode": "if_enrolled", "rules": [{"action": "protect", "match": [{"path": ["/x"]}], "enforce_from": "2026-12-01T09:00:00Z"}]`: "rules[0]: enforce_from goes with `mode enforce`",
		`"rules": [{"action": "open", "match": [{"path": ["/x"]}], "enforce_from": "2026-12-01T09:00:00Z"}]`:                           "rules[0]: an open rule demands nothing",
		`"rules": [{"action": "protect", "match": [{"path": ["/x"]}], "user": "{http.auth.user.id}"}]`:                                 `unknown field "user"`,
	} {
		t.Run(handler, func(t *testing.T) {
			wantError(t, validate(jsonConfig(plainApp, `{"handler": "stepgate", `+handler+`}`)), "http.handlers.stepgate", want)
		})
	}
}

const open = `{"action": "open", "match": [{"path": ["/open"]}]}`

// The configurations that the two tables vary are sound.
func TestAcceptedAsJSON(t *testing.T) {
	if err := validate(jsonConfig(plainApp, plainHandler)); err != nil {
		t.Error(err)
	}
	if err := validate(jsonConfig(plainApp, `{"handler": "stepgate", "rules": [`+open+`, {"action": "protect", "match": [{"tls": {}, "file": {}}]}]}`)); err != nil {
		t.Error(err)
	}
	secret := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(secret, []byte("sgk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := validate(jsonConfig(`{"rp_id": "example.com", "grant_keys": ["{file.`+secret+`}"]}`, plainHandler)); err != nil {
		t.Error(err)
	}
}

func TestHandlerWithoutApp(t *testing.T) {
	config := strings.Replace(string(jsonConfig(plainApp, plainHandler)), `"stepgate": `+plainApp+`, `, "", 1)
	wantError(t, validate([]byte(config)), "no relying party is configured: add a global option block")
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %v\nmust hold %s", err, part)
		}
	}
}
