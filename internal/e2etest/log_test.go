package e2etest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// logbook is what a gateway wrote to standard error, and what must never stand there.
type logbook struct {
	mu      sync.Mutex
	partial []byte
	lines   []string
	secrets *secrets
	read    int // lines that audited has gone past
}

func newLogbook() *logbook { return &logbook{secrets: &secrets{what: map[string]string{}}} }

// secrets are what no line may hold. Gateways whose clients are the same have them in common.
type secrets struct {
	mu   sync.Mutex
	what map[string]string // by secret
}

// Write implements io.Writer.
func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.lines = append(l.lines, string(line))
		l.partial = append([]byte(nil), rest...)
	}
}

// text returns all of it.
func (l *logbook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n") + "\n" + string(l.partial)
}

// secret names a text that may not be in any line. Short ones could be there by chance.
func (l *logbook) secret(what, value string) {
	if len(value) < 16 {
		return
	}
	l.secrets.mu.Lock()
	defer l.secrets.mu.Unlock()
	l.secrets.what[value] = what
}

// leaks holds that no line has a secret, and that the race detector found nothing.
func (l *logbook) leaks(t testing.TB) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.secrets.mu.Lock()
	defer l.secrets.mu.Unlock()
	for _, line := range append(l.lines, string(l.partial)) {
		for value, what := range l.secrets.what {
			if strings.Contains(line, value) {
				t.Errorf("a log line holds a secret (%s): %s", what, line)
			}
		}
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic") {
			t.Errorf("the gateway says %q; all of its log:\n%s", line, strings.Join(l.lines, "\n"))
			return
		}
	}
}

// entry is one line of the audit log.
type entry struct {
	Logger, Msg, Reason, User, Passkey, Action, Client, Host, Method, Path, Rule string
	Level                                                                        string `json:"passkey_level"`
	RequestID                                                                    string `json:"request_id"`
	CodesLeft                                                                    int    `json:"codes_left"`
}

const auditLogger = "http.handlers.stepgate.audit"

// next returns the first audit line of this kind and reason that audited has not gone past, and goes past it. What
// browsers ask for by themselves, whenever they like, does not count.
func (l *logbook) next(kind, reason string) (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := l.read; i < len(l.lines); i++ {
		var e entry
		if json.Unmarshal([]byte(l.lines[i]), &e) == nil && e.Logger == auditLogger && e.Msg == kind && e.Reason == reason && e.Path != "/favicon.ico" {
			l.read = i + 1
			return e, true
		}
	}
	return entry{}, false
}

// unread lists the audit lines that audited has not gone past.
func (l *logbook) unread() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines[l.read:] {
		var e entry
		if json.Unmarshal([]byte(line), &e) == nil && e.Logger == auditLogger {
			list = append(list, fmt.Sprintf("%s %s %s %s", e.Msg, e.Reason, e.Method, e.Path))
		}
	}
	return list
}

// audited waits for the next audit line of this kind and reason ("" for what succeeded), and skips those before it.
func (g *gateway) audited(kind, reason string) entry {
	g.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if e, ok := g.log.next(kind, reason); ok {
			return e
		}
		if time.Now().After(deadline) {
			g.t.Errorf("no audit line %s %q; there are: %q", kind, reason, g.log.unread())
			return entry{}
		}
		<-tick.C
	}
}
