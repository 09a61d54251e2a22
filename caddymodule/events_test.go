package caddymodule_test

import (
	"context"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"
)

func init() { caddy.RegisterModule(hook{}) }

// hook is an events handler as a plugin would bring one.
type hook struct{}

var hooked = make(chan caddy.Event, 100)

func (hook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.stepgate_test", New: func() caddy.Module { return new(hook) }}
}

func (*hook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (hook) Handle(_ context.Context, e caddy.Event) error {
	hooked <- e
	return nil
}

// People hook into what happens to passkeys, with Caddy's own events.
func TestEvents(t *testing.T) {
	g := newGateway(t)
	if err := g.reload(options("events {\n on stepgate_passkey_registered stepgate_test\n on stepgate_passkey_removed stepgate_test\n}", ""), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	g.enrolled("alice")
	select {
	case e := <-hooked:
		if e.Name() != "stepgate_passkey_registered" || e.Data["passkey"] == "" || e.Data["request_id"] == "" {
			t.Errorf("%s %v", e.Name(), e.Data)
		}
		delete(e.Data, "passkey")
		delete(e.Data, "request_id")
		want := map[string]any{"user": "alice", "action": "first_use", "level": "device_bound", "reason": "", "client": "127.0.0.1", "host": e.Data["host"]}
		if diff := cmp.Diff(want, e.Data); diff != "" {
			t.Error(diff)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	select {
	case e := <-hooked:
		t.Errorf("another event: %s %v", e.Name(), e.Data)
	default:
	}
}
