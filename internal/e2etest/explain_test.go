package e2etest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/browsertest"
)

// predicted is what `explain --json` says, as far as a running gateway can be held to it.
type predicted struct {
	Cases []struct {
		SignedIn pair  `json:"signed_in"`
		Nobody   *pair `json:"nobody"`
	}
}

type pair struct{ Browser, API answerOf }

type answerOf struct {
	Result, Code, Reason, Location, By string
	Status                             int
}

// What explain says a browser and an API client get is what the gateway answers.
func TestExplainHoldsTrue(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	other := gatewaytest.FreePort(t)
	gatewaytest.Must(t, os.MkdirAll(filepath.Join(g.Folder, "files"), 0o700))
	g.Configure(gatewaytest.Globals("") + strings.ReplaceAll(`http://localhost:$PORT, http://other.localhost:$PORT {
	handle /free/* {
		respond "free" 203
	}
	redir /moved /keys 302
	handle {
		rewrite /short /keys/long
		stepgate {
			user {header.X-User}
			fold_user
			open /assets/*
			protect /keys/* {
				max_age 1m
				level device_bound
			}
			protect {
				match {
					method DELETE
				}
				max_age 30s
			}
		}
		handle_path /strip/* {
			reverse_proxy $UPSTREAM
		}
		reverse_proxy $UPSTREAM
	}
}
http://localhost:$OTHER {
	stepgate {
		ambiguous_paths strictest
		open *
	}
	reverse_proxy $UPSTREAM
}
`, "$OTHER", fmt.Sprint(other)))
	g.Run()
	hosts := map[string]string{"": g.URL, "other": strings.Replace(g.URL, "localhost", "other.localhost", 1), "second": fmt.Sprintf("http://localhost:%d", other)}
	for _, row := range []struct{ method, host, path, result string }{
		{"GET", "", "/", "step_up"}, {"HEAD", "", "/x?y=1", "step_up"}, {"POST", "", "/x", "step_up"}, {"DELETE", "", "/x", "step_up"},
		{"GET", "", "/keys", "step_up"}, {"GET", "", "/KEYS/1", "step_up"}, {"GET", "", "/short", "step_up"}, {"GET", "", "/strip/keys/1", "step_up"},
		{"GET", "", "/assets/app.js", "passes"}, {"POST", "", "/assets/app.js", "passes"}, {"GET", "", "/assets", "step_up"},
		{"GET", "", "/free/x", "ungated"}, {"GET", "", "/moved", "ungated"},
		{"GET", "", "/a//b", "refused"}, {"GET", "", "/assets/..%2fkeys", "refused"}, {"GET", "", "/a;b", "refused"}, {"GET", "", "/a%00", "refused"}, {"GET", "", "/a.", "refused"},
		{"GET", "", "/%252e/x", "refused"}, {"GET", "", "/a%5Cb", "refused"}, {"GET", "", "/%C3%28", "refused"}, {"TRACE", "", "/assets/x", "refused"}, {"delete", "", "/assets/x", "refused"},
		{"PURGE", "", "/x", "step_up"}, {"OPTIONS", "", "/x", "step_up"},
		{"GET", "", "/.stepgate/challenge", "own"}, {"GET", "", "/.stepgate/passkeys", "own"}, {"GET", "", "/.stepgate/status", "own"}, {"GET", "", "/.stepgate/nothing", "refused"},
		{"POST", "", "/.stepgate/challenge", "refused"}, {"GET", "", "/.well-known/webauthn", "own"}, {"GET", "", "/.WELL-known/webauthn", "refused"},
		{"GET", "", "/.well-known/passkey-endpoints", "own"}, {"GET", "", "/.stepgatex", "step_up"},
		{"GET", "other", "/x", "refused"}, {"GET", "other", "/assets/x", "passes"}, {"GET", "other", "/.stepgate/status", "refused"}, {"GET", "other", "/.well-known/passkey-endpoints", "refused"},
		{"GET", "second", "/x", "passes"}, {"GET", "second", "/a//b", "refused"}, {"GET", "second", "/.stepgate/challenge", "refused"},
	} {
		name := row.method + " " + row.host + row.path
		out, err := g.Command("explain", row.method, hosts[row.host]+row.path, "--json").Output()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var says predicted
		gatewaytest.Must(t, json.Unmarshal(out, &says))
		if len(says.Cases) != 1 || says.Cases[0].SignedIn.API.Result != row.result {
			t.Errorf("%s: explained as %s", name, out)
			continue
		}
		c := says.Cases[0]
		if c.Nobody == nil {
			t.Errorf("%s: nothing is said of people who are not signed in", name)
			continue
		}
		for _, who := range []struct {
			user string
			want pair
		}{{"Alice", c.SignedIn}, {"", *c.Nobody}} {
			browser := plain(g, t, row.method, hosts[row.host], row.path, who.user, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")
			api := plain(g, t, row.method, hosts[row.host], row.path, who.user, "Accept", "application/json")
			for kind, held := range map[string]struct {
				want answerOf
				got  gatewaytest.Reply
			}{"browser": {who.want.Browser, browser}, "API client": {who.want.API, api}} {
				if problem := held.want.differs(held.got, row.method); problem != "" {
					t.Errorf("%s, %q, %s: %s; explained as %+v", name, who.user, kind, problem, held.want)
				}
			}
		}
	}
}

// plain sends a request as it is written, without following or cleaning anything.
func plain(g *gatewaytest.Gateway, t *testing.T, method, origin, path, user string, headers ...string) gatewaytest.Reply {
	t.Helper()
	c := gatewaytest.NewClient(t, g, user)
	if port := origin[strings.LastIndex(origin, ":")+1:]; port != fmt.Sprint(g.Port) {
		c.HTTP.Transport = http.DefaultTransport // another port of the same gateway
	}
	c.Origin = origin
	answer, err := c.Send(method, path, nil, headers...)
	gatewaytest.Must(t, err)
	return answer
}

// differs says how an answer is not the one that was explained.
func (want answerOf) differs(got gatewaytest.Reply, method string) string {
	reached := got.Header.Get("Content-Type") == "application/json" && strings.Contains(string(got.Body), `"Target"`) || strings.Contains(string(got.Body), "<h1>Console</h1>")
	if want.Result == "passes" {
		if got.Status != 200 || !reached && method != http.MethodHead {
			return fmt.Sprintf("it got %d and not the upstream", got.Status)
		}
		return ""
	}
	switch {
	case reached:
		return "it reached the upstream"
	case got.Status != want.Status:
		return fmt.Sprintf("it got %d", got.Status)
	case want.Code != "" && method != http.MethodHead && !strings.Contains(string(got.Body), want.Code):
		return fmt.Sprintf("it got another code: %s", got.Body)
	case want.Reason != "" && method != http.MethodHead && !strings.Contains(string(got.Body), want.Reason):
		return fmt.Sprintf("it got another reason: %s", got.Body)
	case want.Location != "" && !strings.HasPrefix(got.Header.Get("Location"), want.Location):
		return "it was sent to " + got.Header.Get("Location")
	}
	return ""
}

// Both commands run on the example beside the gateway that runs it, and leave nothing behind.
func TestExplainAndCheckExample(t *testing.T) {
	t.Parallel()
	g := gatewaytest.Prepare(t)
	literal := filepath.Join(browsertest.RepositoryRoot(t), "Caddyfile.example")
	out, code := g.Call("check", "--config", literal, "--adapter", "caddyfile")
	if code != 0 || !strings.Contains(out, "0 dangers, 0 warnings, 1 note") {
		t.Errorf("check: %d\n%s", code, out)
	}
	out, code = g.Call("explain", "GET", "/admin/", "--as", "alice", "--config", literal, "--adapter", "caddyfile")
	if code != 0 || !strings.Contains(out, "3: protect /admin/* { … } ("+literal+":") || !strings.Contains(out, "303 to /.stepgate/challenge") {
		t.Errorf("explain: %d\n%s", code, out)
	}
	if entries, _ := os.ReadDir(g.Folder); len(entries) != 0 {
		t.Errorf("they left %v", entries)
	}
}
