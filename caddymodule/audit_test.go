package caddymodule_test

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() { caddy.RegisterModule(fullDisk{}) }

// fullDisk is a log's output on a disk that is full when it is said to be.
type fullDisk struct{}

var diskFull atomic.Bool

func (fullDisk) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.stepgate_test", New: func() caddy.Module { return new(fullDisk) }}
}

func (*fullDisk) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (fullDisk) String() string                        { return "a disk" }
func (fullDisk) WriterKey() string                     { return "stepgate test disk" }
func (d fullDisk) OpenWriter() (io.WriteCloser, error) { return d, nil }
func (fullDisk) Close() error                          { return nil }
func (fullDisk) Write(p []byte) (int, error) {
	if diskFull.Load() {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

// audit require: the log's disk is full, and the gate is closed until there is room again. Without it, the gate goes on.
func TestAuditRequire(t *testing.T) {
	defer diskFull.Store(false)
	const audit = "log audit {\n output stepgate_test\n include http.handlers.stepgate.audit\n}"
	for _, required := range []bool{true, false} {
		g := newGateway(t)
		app := ""
		if required {
			app = "audit require"
		}
		if err := g.reload(options(audit, app), site("open /open", proxy)); err != nil {
			t.Fatal(err)
		}
		alice := g.enrolled("alice")
		alice.want("/keys", 200, "")
		bob := g.browser("bob")
		diskFull.Store(true)
		bob.want("/keys", 401, "step_up_required/grant_missing") // its line is lost
		alice.want("/open", 200, "")
		if required {
			alice.want("/keys", 503, "audit_unavailable")
			diskFull.Store(false)
			alice.want("/keys", 503, "audit_unavailable") // this one's line says that there is room again
			if text, _ := os.ReadFile(g.folder + "/log"); len(text) == 0 {
				t.Error("no log")
			}
			for message, n := range map[string]int{
				"the audit log does not take events: protected routes are closed until it does (audit require)": 1, "the audit log takes events again": 1,
			} {
				if lines := g.logged(message); len(lines) != n {
					t.Errorf("%d lines say %q, want %d", len(lines), message, n)
				}
			}
		}
		alice.want("/keys", 200, "")
		diskFull.Store(false)
	}
}
