package gatewaytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// Logbook is what a gateway wrote to standard error, and what must never stand there.
type Logbook struct {
	Mu      sync.Mutex
	partial []byte
	Lines   []string
	secrets *secrets
	read    int // lines that audited has gone past
}

func newLogbook() *Logbook { return &Logbook{secrets: &secrets{what: map[string]string{}}} }

// secrets are what no line may hold. Gateways whose clients are the same have them in common.
type secrets struct {
	mu   sync.Mutex
	what map[string]string // by secret
}

// Write implements io.Writer.
func (l *Logbook) Write(p []byte) (int, error) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.Lines = append(l.Lines, string(line))
		l.partial = append([]byte(nil), rest...)
	}
}

// Text returns all of it.
func (l *Logbook) Text() string {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return strings.Join(l.Lines, "\n") + "\n" + string(l.partial)
}

// Secret names a text that may not be in any line. Short ones could be there by chance.
func (l *Logbook) Secret(what, value string) {
	if len(value) < 16 {
		return
	}
	l.secrets.mu.Lock()
	defer l.secrets.mu.Unlock()
	l.secrets.what[value] = what
}

// leaks holds that no line has a secret, and that the race detector found nothing.
func (l *Logbook) leaks(t testing.TB) {
	t.Helper()
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.secrets.mu.Lock()
	defer l.secrets.mu.Unlock()
	for _, line := range append(l.Lines, string(l.partial)) {
		for value, what := range l.secrets.what {
			if strings.Contains(line, value) {
				t.Errorf("a log line holds a secret (%s): %s", what, line)
			}
		}
		if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic") || strings.Contains(line, "panic serving") {
			t.Errorf("the gateway says %q; all of its log:\n%s", line, strings.Join(l.Lines, "\n"))
			return
		}
	}
}

// Entry is one line of the audit log.
type Entry struct {
	Logger, Msg, Reason, User, Passkey, Action, Client, Host, Method, Path, Rule string
	Level                                                                        string `json:"passkey_level"`
	RequestID                                                                    string `json:"request_id"`
	CodesLeft                                                                    int    `json:"codes_left"`
}

const AuditLogger = "http.handlers.stepgate.audit"

// Next returns the first audit line of this kind and reason that audited has not gone past, and goes past it. What
// browsers ask for by themselves, whenever they like, does not count.
func (l *Logbook) Next(kind, reason string) (Entry, bool) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	for i := l.read; i < len(l.Lines); i++ {
		var e Entry
		if json.Unmarshal([]byte(l.Lines[i]), &e) == nil && e.Logger == AuditLogger && e.Msg == kind && e.Reason == reason && e.Path != "/favicon.ico" {
			l.read = i + 1
			return e, true
		}
	}
	return Entry{}, false
}

// Unread lists the audit lines that audited has not gone past.
func (l *Logbook) Unread() (list []string) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	for _, line := range l.Lines[l.read:] {
		var e Entry
		if json.Unmarshal([]byte(line), &e) == nil && e.Logger == AuditLogger {
			list = append(list, fmt.Sprintf("%s %s %s %s", e.Msg, e.Reason, e.Method, e.Path))
		}
	}
	return list
}

// Audited waits for the next audit line of this kind and reason ("" for what succeeded), and skips those before it.
func (g *Gateway) Audited(kind, reason string) Entry {
	g.T.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if e, ok := g.Log.Next(kind, reason); ok {
			return e
		}
		if time.Now().After(deadline) {
			g.T.Errorf("no audit line %s %q; there are: %q", kind, reason, g.Log.Unread())
			return Entry{}
		}
		<-tick.C
	}
}

// AuditedRequest waits for the audit line about one request: problems and lines name the same id.
func (g *Gateway) AuditedRequest(t testing.TB, id string) (found Entry) {
	t.Helper()
	if id == "" {
		t.Fatal("the answer names no request")
	}
	Eventually(t, "an audit line about request "+id, func() bool {
		g.Log.Mu.Lock()
		defer g.Log.Mu.Unlock()
		for i := len(g.Log.Lines) - 1; i >= 0; i-- {
			if !strings.Contains(g.Log.Lines[i], id) {
				continue
			}
			var e Entry
			if json.Unmarshal([]byte(g.Log.Lines[i]), &e) == nil && e.Logger == AuditLogger && e.RequestID == id {
				found = e
				return true
			}
		}
		return false
	})
	return found
}

// Holds reports whether a text has one of the secrets that may not stand in the log, and which.
func (l *Logbook) Holds(text string) (what string, holds bool) {
	l.secrets.mu.Lock()
	defer l.secrets.mu.Unlock()
	for value, what := range l.secrets.what {
		if strings.Contains(text, value) {
			return what, true
		}
	}
	return "", false
}

// Recorded holds that there is an audit line of this kind and reason about a user.
func (g *Gateway) Recorded(kind, reason, user string) error {
	line := regexp.MustCompile(fmt.Sprintf(`"logger":%q,"msg":%q,"reason":%q,"user":%q`, AuditLogger, kind, reason, user))
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !line.MatchString(g.Log.Text()) {
		if time.Now().After(deadline) {
			return fmt.Errorf("no audit line %s %q about %s", kind, reason, user)
		}
		<-tick.C
	}
	return nil
}
