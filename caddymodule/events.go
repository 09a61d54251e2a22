package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/stepgate/stepgate/internal/audit"
)

// eventNames are the audit's events that people hook into: a mail to whoever got a new passkey, a page to whoever is on
// call. What else is audited is in the log.
var eventNames = map[audit.Kind]string{
	audit.PasskeyRegistered: "stepgate_passkey_registered",
	audit.PasskeyRemoved:    "stepgate_passkey_removed",
	audit.CloneSuspected:    "stepgate_clone_suspected",
	audit.RecoveryCodeUsed:  "stepgate_recovery_code_used",
	audit.RecoveryCodesMade: "stepgate_recovery_codes_made",
	audit.Invited:           "stepgate_passkey_invited",
	audit.UserErased:        "stepgate_user_erased",
}

// eventful is a recorder that emits Caddy's events too, for whoever is subscribed with the global option `events`. No
// request waits for them: a handler may send a mail.
type eventful struct {
	audit.Recorder
	ctx    caddy.Context
	events *caddyevents.App
}

// withEvents returns a recorder that emits events beside what next does.
func withEvents(ctx caddy.Context, next audit.Recorder) (audit.Recorder, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading events: %w", err)
	}
	return eventful{next, ctx, app.(*caddyevents.App)}, nil
}

// Record implements [audit.Recorder].
func (r eventful) Record(e audit.Event) error {
	err := r.Recorder.Record(e)
	name, hooked := eventNames[e.Kind]
	if !hooked || !r.events.ShouldEmit(name) {
		return err
	}
	data := map[string]any{
		"user": e.User, "passkey": e.Passkey, "action": string(e.Action), "level": e.Level, "reason": string(e.Reason),
		"client": e.Client, "host": e.Host, "request_id": e.RequestID,
	}
	if e.CodesLeft != nil {
		data["codes_left"] = *e.CodesLeft
	}
	go r.events.Emit(r.ctx, name, data)
	return err
}
