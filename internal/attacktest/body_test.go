package attacktest_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// changes are the addresses that change something, each with a body that it would take.
func (s *scene) changes(c *client) map[string]string {
	s.Helper()
	key := s.passkey(c, "Key")
	step, err := c.Begin(map[string]any{"return_to": "/keys"})
	gatewaytest.Must(s, err)
	return map[string]string{
		"POST /.stepgate/challenge/options":          `{"return_to":"/keys"}`,
		"POST /.stepgate/challenge/verify":           fmt.Sprintf(`{"return_to":"/keys","credential":%s}`, step["credential"]),
		"POST /.stepgate/passkeys/authorize/options": `{"action":"add"}`,
		"POST /.stepgate/passkeys/options":           `{"name":"New"}`,
		"POST /.stepgate/passkeys":                   fmt.Sprintf(`{"name":"New","credential":%s}`, step["credential"]),
		"PATCH " + key:                               `{"name":"Renamed"}`,
		"DELETE " + key:                              fmt.Sprintf(`{"authorization":%s,"last":true}`, step["credential"]),
		"POST /.stepgate/recovery-codes":             fmt.Sprintf(`{"authorization":%s}`, step["credential"]),
		"POST /.stepgate/logout":                     `{}`,
	}
}

// onEachChange tries an attack on every address that changes something.
func onEachChange(name, code string, attempt func(s *scene, c *client, method, path, body string) reply) attack {
	return attack{name: name, code: code, do: func(s *scene) (*client, reply) {
		c := s.insider("alice")
		var last reply
		for address, body := range s.changes(c) {
			method, path, _ := strings.Cut(address, " ")
			if last.Status != 0 {
				s.refused(nil, last, code, "")
			}
			last = attempt(s, c, method, path, body)
			if s.Failed() {
				s.Fatalf("that was %s", address)
			}
		}
		s.passes(c, "GET", "/keys") // still signed in, under the same passkey
		s.passkey(c, "Key")
		s.g.Upstream.Take()
		return nil, last
	}}
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// Bodies that are not what they should be.
func TestBodies(t *testing.T) {
	var attacks []attack
	for _, kind := range []string{
		"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "application/json; charset=utf-16",
		"application/jsonp", "application/ld+json", "text/plain, application/json", "*/*",
	} {
		attacks = append(attacks, onEachChange("A43 the media type "+kind, "media_type", func(s *scene, c *client, method, path, body string) reply {
			return s.raw(c, method, path, body, "Content-Type", kind)
		}))
	}
	for _, coding := range []string{"gzip", "deflate", "br", "gzip, identity", "x-gzip"} {
		attacks = append(attacks, onEachChange("A42 the coding "+coding, "media_type", func(s *scene, c *client, method, path, body string) reply {
			return s.raw(c, method, path, zipped(body), "Content-Encoding", coding)
		}))
	}
	for name, text := range map[string]string{
		"nothing": "", "blank": " ", "null": "null", "a number": "1", "text": `"x"`, "an array": "[]", "cut short": `{"return_to":"/keys"`, "a trailing comma": `{"name":"x",}`,
		"two objects": `{}{}`, "trailing rubbish": `{} x`, "a comment": `{/**/}`, "a byte order mark": "\ufeff{}", "single quotes": `{'name':'x'}`, "NUL": "{}\x00", "invalid UTF-8": "{\"name\":\"\xff\"}",
		"20000 arrays":             `{"name":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`,
		"9000 objects":             strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000),
		"a member twice":           `{"name":"x","name":"y","return_to":"/keys","return_to":"/","action":"add","action":"remove","credential":{},"credential":{},"authorization":{},"authorization":{}}`,
		"members in capitals":      `{"NAME":"x","RETURN_TO":"/keys","ACTION":"add","CREDENTIAL":{},"AUTHORIZATION":{}}`,
		"zipped without saying so": zipped(`{}`),
	} {
		attacks = append(attacks, onEachChange("A42 "+name, "body_malformed", func(s *scene, c *client, method, path, _ string) reply {
			if path == "/.stepgate/logout" && name == "members in capitals" {
				path = "/.stepgate/passkeys/options" // a log-out has no members
			}
			return s.raw(c, method, path, text)
		}))
	}
	for name, size := range map[string]int{"64 KiB and a byte": 64<<10 + 1, "1 MiB": 1 << 20} {
		attacks = append(attacks, onEachChange("A42 "+name, "body_too_large", func(s *scene, c *client, method, path, body string) reply {
			return s.raw(c, method, path, body+strings.Repeat(" ", size-len(body)))
		}))
	}
	group{name: "bodies", parsing: true, attacks: attacks, control: func(s *scene) {
		c := s.insider("alice")
		for address, body := range s.changes(c) { // each of them is understood
			method, path, _ := strings.Cut(address, " ")
			answer := s.raw(c, method, path, body)
			if answer.Status == http.StatusUnsupportedMediaType || answer.Status == http.StatusRequestEntityTooLarge || strings.Contains(string(answer.Body), `"body_malformed"`) && !strings.HasSuffix(path, "/passkeys") {
				s.Errorf("%s: %d %s", address, answer.Status, answer.Body)
			}
		}
	}}.run(t)
}

// Changes are for the gateway's own pages: no other page can make them, whatever browser carries them.
func TestCrossSiteChanges(t *testing.T) {
	var attacks []attack
	for name, headers := range map[string][]string{
		"no Origin and no fetch metadata":         {"Origin", ""},
		"Origin null":                             {"Origin", "null"},
		"another site":                            {"Origin", "https://evil.test"},
		"another site by fetch metadata":          {"Origin", "", "Sec-Fetch-Site", "cross-site"},
		"a sibling by fetch metadata":             {"Origin", "", "Sec-Fetch-Site", "same-site"},
		"no site by fetch metadata":               {"Origin", "", "Sec-Fetch-Site", "none"},
		"fetch metadata nobody knows":             {"Origin", "", "Sec-Fetch-Site", "Same-Origin"},
		"own Origin, but from another site":       {"Sec-Fetch-Site", "cross-site"},
		"own Origin, but from a sibling":          {"Sec-Fetch-Site", "same-site"},
		"the origin as http":                      {"Origin", "http://" + consoleHost},
		"the origin without its port":             {"Origin", "https://" + consoleHost},
		"a host that begins alike":                {"Origin", "https://" + consoleHost + ".evil.test"},
		"the origin in the Referer only":          {"Origin", "", "Referer", "https://" + consoleHost + "/"},
		"a method override from another site":     {"Origin", "https://evil.test", "X-HTTP-Method-Override", "POST"},
		"the origin in X-Forwarded-Host and more": {"Origin", "https://evil.test", "X-Forwarded-Host", "evil.test", "Forwarded", "host=evil.test"},
	} {
		attacks = append(attacks, onEachChange("F6 "+name, "cross_site", func(s *scene, c *client, method, path, body string) reply {
			return s.raw(c, method, path, body, headers...)
		}))
	}
	attacks = append(attacks, onEachChange("F6 the other host of the relying party", "cross_site", func(s *scene, c *client, method, path, body string) reply {
		return s.raw(c, method, path, body, "Origin", s.origin(otherHost))
	}))
	for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "PROPFIND"} {
		if method == "HEAD" {
			continue // has no body that could name a reason
		}
		attacks = append(attacks, onEachChange("F7 "+method, "method_not_allowed", func(s *scene, c *client, _, path, body string) reply {
			if path == gatewaytest.Account && method == "GET" {
				path = "/.stepgate/logout" // the account page
			}
			return s.raw(c, method, path, body)
		}))
	}
	group{name: "cross-site changes", attacks: attacks, control: func(s *scene) {
		c := s.insider("alice")
		key := s.passkey(c, "Key")
		gatewaytest.Must(s, s.raw(c, "PATCH", key, `{"name":"Renamed"}`).Expect(200))
		gatewaytest.Must(s, s.raw(c, "PATCH", key, `{"name":"Again"}`, "Origin", "", "Sec-Fetch-Site", "same-origin").Expect(200))
	}}.run(t)
}
