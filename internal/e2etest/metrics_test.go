package e2etest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/faulttest"
)

// scrape returns Stepgate's series, by name and labels, from the admin API.
func scrape(g *gatewaytest.Gateway) map[string]float64 {
	g.T.Helper()
	answer, err := http.Get(fmt.Sprintf("http://localhost:%d/metrics", g.Admin))
	gatewaytest.Must(g.T, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	gatewaytest.Must(g.T, err)
	series := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, found := cutLast(lines.Text(), " ")
		if !found || !strings.HasPrefix(name, "stepgate_") {
			continue
		}
		if series[name], err = strconv.ParseFloat(value, 64); err != nil {
			g.T.Fatal(err)
		}
	}
	return series
}

func cutLast(text, at string) (before, after string, found bool) {
	i := strings.LastIndex(text, at)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(at):], true
}

// What people did is what the metrics say, whichever store it is, and a reload loses none of it.
func TestMetrics(t *testing.T) { gatewaytest.OnEachStore(t, testMetrics) }

func testMetrics(t *testing.T, on gatewaytest.Store) {
	console := gatewaytest.HeaderConsole("revocation_lag 1m", "open /open")
	g := on.Start(t, console)
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Get("/keys").Refused(401, "grant_missing"))
	gatewaytest.Must(t, gatewaytest.Session(c)) // registers, steps up, and asks for /keys
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	gatewaytest.Must(t, c.Get("/open").Expect(200))
	gatewaytest.Must(t, c.Get("/open").Expect(200))
	gatewaytest.Must(t, c.Get("/a//b").Refused(400, "path_ambiguous"))
	gatewaytest.Must(t, c.Get("/.stepgate/nowhere").Refused(404, "not_found"))
	answer, err := c.StepUp("/keys", authtest.SignCount(1))
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Refused(403, "counter_regressed"))

	wants := func(series map[string]float64, allowed float64) {
		t.Helper()
		for name, want := range map[string]float64{
			`stepgate_requests_judged_total{reason="",result="allowed"}`:                                                    allowed,
			`stepgate_requests_judged_total{reason="",result="open"}`:                                                       2,
			`stepgate_requests_judged_total{reason="grant_missing",result="step_up"}`:                                       1,
			`stepgate_requests_judged_total{reason="grant_stale",result="step_up"}`:                                         0,
			`stepgate_requests_judged_total{reason="path_ambiguous",result="refused"}`:                                      1,
			`stepgate_requests_judged_total{reason="store_unavailable",result="error"}`:                                     0,
			`stepgate_own_requests_total{reason="",result="served"}`:                                                        5,
			`stepgate_own_requests_total{reason="not_found",result="refused"}`:                                              1,
			`stepgate_own_requests_total{reason="counter_regressed",result="refused"}`:                                      1,
			`stepgate_ceremonies_started_total{action="first_use",kind="registration"}`:                                     1,
			`stepgate_ceremonies_started_total{action="step_up",kind="authentication"}`:                                     2,
			`stepgate_ceremonies_total{action="first_use",kind="registration",reason="",result="ok"}`:                       1,
			`stepgate_ceremonies_total{action="step_up",kind="authentication",reason="",result="ok"}`:                       1,
			`stepgate_ceremonies_total{action="step_up",kind="authentication",reason="counter_regressed",result="refused"}`: 1,
			`stepgate_ceremony_duration_seconds_count{kind="registration",result="ok"}`:                                     1,
			`stepgate_ceremony_duration_seconds_count{kind="authentication",result="ok"}`:                                   1,
			`stepgate_ceremony_duration_seconds_count{kind="authentication",result="refused"}`:                              1,
			`stepgate_grants_minted_total{level="device_bound"}`:                                                            1,
			`stepgate_grants_minted_total{level="verified"}`:                                                                0,
			`stepgate_view_reads_total{result="read"}`:                                                                      1,
			`stepgate_view_reads_total{result="cached"}`:                                                                    allowed - 1,
			`stepgate_passkeys_registered_total{first="true"}`:                                                              1,
			`stepgate_passkeys_registered_total{first="false"}`:                                                             0,
			`stepgate_passkeys_removed_total`:                                                                               0,
			`stepgate_rate_limited_total`:                                                                                   0,
			`stepgate_store_calls_total{operation="begin",result="ok"}`:                                                     2,
			`stepgate_store_calls_total{operation="issue",result="ok"}`:                                                     1,
			`stepgate_store_calls_total{operation="consume",result="ok"}`:                                                   3,
			`stepgate_store_calls_total{operation="register",result="ok"}`:                                                  1,
			`stepgate_store_calls_total{operation="use",result="ok"}`:                                                       1,
			`stepgate_store_calls_total{operation="account",result="ok"}`:                                                   1,
			`stepgate_store_calls_total{operation="account",result="store_unavailable"}`:                                    0,
			`stepgate_store_call_duration_seconds_count{operation="begin"}`:                                                 2,
		} {
			if got, there := series[name]; !there || got != want {
				t.Errorf("%s is %v (there: %v), want %v", name, got, there, want)
			}
		}
		for name := range series {
			if strings.Contains(name, "carol") || strings.Contains(name, "/") || strings.Contains(name, "localhost") {
				t.Errorf("a label says too much: %s", name)
			}
		}
		query, put := series[`stepgate_dynamodb_calls_total{operation="Query",result="ok"}`], series[`stepgate_dynamodb_calls_total{operation="PutItem",result="ok"}`]
		read, write := series[`stepgate_dynamodb_consumed_units_total{kind="read"}`], series[`stepgate_dynamodb_consumed_units_total{kind="write"}`]
		if on == gatewaytest.OnDynamoDB && (query < 6 || put != 3 || read <= 0 || write <= 0) || on == gatewaytest.OnFile && query+put+read+write != 0 {
			t.Errorf("DynamoDB: %v queries, %v puts, %v and %v units", query, put, read, write)
		}
	}
	wants(scrape(g), 2)
	gatewaytest.Must(t, g.Reload(console, "--force"))
	wants(scrape(g), 2)
	gatewaytest.Must(t, g.Reload(gatewaytest.HeaderConsole("revocation_lag 1m\nmax_passkeys 5", "open /open")))
	gatewaytest.Must(t, c.Get("/keys").Expect(200))
	series := scrape(g)
	if got := series[`stepgate_requests_judged_total{reason="",result="allowed"}`]; got != 3 {
		t.Errorf("after a reload: %v allowed", got)
	}
}

// While DynamoDB fails, the metrics say so: requests that end in an error, calls of the store, and calls of DynamoDB.
func TestMetricsOfFaults(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFaulty(t, "revocation_lag 0s")
	c := gatewaytest.NewClient(t, f.Gateway, "carol")
	gatewaytest.Must(t, gatewaytest.Session(c))
	lift := f.Afflict("carol", faulttest.AccessDenied, 0, "")
	before := scrape(f.Gateway)
	gatewaytest.Must(t, c.Get("/keys").Unavailable())
	answer, err := c.Send("POST", "/.stepgate/challenge/options", map[string]any{"return_to": "/"})
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Unavailable())
	lift()
	after := scrape(f.Gateway)
	for _, name := range []string{
		`stepgate_requests_judged_total{reason="store_unavailable",result="error"}`,
		`stepgate_own_requests_total{reason="store_unavailable",result="error"}`,
		`stepgate_ceremonies_total{action="step_up",kind="authentication",reason="store_unavailable",result="error"}`,
		`stepgate_store_calls_total{operation="account",result="store_unavailable"}`,
		`stepgate_store_calls_total{operation="begin",result="store_unavailable"}`,
		`stepgate_view_reads_total{result="error"}`,
	} {
		if after[name] != before[name]+1 {
			t.Errorf("%s went from %v to %v", name, before[name], after[name])
		}
	}
	if denied := after[`stepgate_dynamodb_calls_total{operation="Query",result="denied"}`]; denied < 2 {
		t.Errorf("%v denied queries", denied)
	}
}
