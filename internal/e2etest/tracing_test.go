package e2etest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sink is where spans are exported to, over OTLP/HTTP.
type sink struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*trace.Span
}

func newSink(t testing.TB) *sink {
	s := new(sink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &request)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
			http.Error(w, "not understood", http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, resource := range request.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				s.spans = append(s.spans, scope.Spans...)
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// tree returns the spans of the requests for a path, in the order in which they began: each with its outcome, behind
// those that it is below.
func (s *sink) tree(path string) (lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	spans := slices.Clone(s.spans)
	slices.SortStableFunc(spans, func(a, b *trace.Span) int { return int(a.StartTimeUnixNano) - int(b.StartTimeUnixNano) })
	names := map[string]string{}
	for _, span := range spans {
		if attribute(span, "url.path") == path {
			names[string(span.SpanId)] = span.Name
			lines = append(lines, span.Name)
			continue
		}
		parent, below := names[string(span.ParentSpanId)]
		if !below {
			continue
		}
		name := parent + " > " + span.Name
		names[string(span.SpanId)] = name
		for _, part := range []string{"step", "action", "result", "reason"} {
			if value := attribute(span, "stepgate."+part); value != "" {
				name += " " + value
			}
		}
		lines = append(lines, name)
	}
	return lines
}

func attribute(span *trace.Span, key string) string {
	for _, pair := range span.Attributes {
		if pair.Key == key {
			return pair.Value.GetStringValue()
		}
	}
	return ""
}

// With Caddy's tracing on, ceremonies are spans below Caddy's own, and so are the judgements that ask the store; what they
// ask it is below them.
func TestTracing(t *testing.T) { gatewaytest.OnEachStore(t, testTracing) }

func testTracing(t *testing.T, on gatewaytest.Store) {
	s := newSink(t)
	g := on.Prepare(t)
	g.Environment = append(g.Environment, "OTEL_EXPORTER_OTLP_ENDPOINT="+s.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_METRICS_EXPORTER=none")
	g.Configure(gatewaytest.Globals("revocation_lag 1m") + gatewaytest.Site("tracing {\n\t\tspan request\n\t}\n\tstepgate {\n\t\tuser {header.X-User}\n\t}"))
	g.Run()
	c := gatewaytest.NewClient(t, g, "carol")
	gatewaytest.Must(t, c.Register("Key"))
	answer, err := c.StepUp("/first")
	gatewaytest.Must(t, err)
	gatewaytest.Must(t, answer.Expect(200))
	gatewaytest.Must(t, c.Get("/first").Expect(200))
	gatewaytest.Must(t, c.Get("/second").Expect(200))
	gatewaytest.Must(t, gatewaytest.NewClient(t, g, "carol").Get("/third").Refused(401, "grant_missing"))

	for path, want := range map[string][]string{
		gatewaytest.Account + "/options": {
			"request", "request > stepgate ceremony start first_use ok", "request > stepgate ceremony > stepgate store begin ok",
		},
		gatewaytest.Account: {
			"request", "request > stepgate ceremony finish first_use ok", "request > stepgate ceremony > stepgate store consume ok",
			"request > stepgate ceremony > stepgate store register ok",
		},
		"/.stepgate/challenge/options": {
			"request", "request > stepgate ceremony start step_up ok", "request > stepgate ceremony > stepgate store begin ok",
		},
		"/.stepgate/challenge/verify": {
			"request", "request > stepgate ceremony finish step_up ok", "request > stepgate ceremony > stepgate store consume ok",
			"request > stepgate ceremony > stepgate store use ok",
		},
		"/first":  {"request", "request > stepgate judge allowed", "request > stepgate judge > stepgate store account ok"},
		"/second": {"request"}, // nobody was asked
		"/third":  {"request"},
	} {
		deadline := time.Now().Add(gatewaytest.Patience)
		for got := s.tree(path); !slices.Equal(got, want); got = s.tree(path) {
			if time.Now().After(deadline) {
				t.Errorf("%s: %q\nwant %q", path, got, want)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.spans {
		if strings.HasPrefix(span.Name, "stepgate") && strings.Contains(span.String(), "carol") {
			t.Errorf("a span names the user: %v", span)
		}
	}
}
