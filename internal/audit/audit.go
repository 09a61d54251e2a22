// Package audit records every decision that matters: one event each, with its reason from the closed list of
// [passkey.Refusal], through one recorder.
//
// An event never holds a cookie, a challenge, an assertion, a key or a query string, so an audit log may go where
// access logs go. What a client states (path, host) is recorded as data, never as the message.
package audit

import (
	"bytes"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/passkey"
)

// Kind is what happened. The list is closed.
type Kind string

// The kinds of event.
const (
	StepUpRequired Kind = "step_up_required" // a request to a protected route without a sufficient grant
	RequestRefused Kind = "request_refused"  // a request refused for another reason
	// What an unenforced rule let through (docs/operating.md).
	WouldRequireStepUp Kind = "would_require_step_up" // an enforced one would have asked for a step-up
	WouldRefuse        Kind = "would_refuse"          // an enforced one would have refused

	CeremonyFinished  Kind = "ceremony_finished"  // an authentication succeeded; Action says what for
	CeremonyRefused   Kind = "ceremony_refused"   // a ceremony could not start, or failed
	CloneSuspected    Kind = "clone_suspected"    // a sign count did not rise; Reason says whether it was let pass
	PasskeyRegistered Kind = "passkey_registered" // Action first_use: on the first factor alone
	BackupLearned     Kind = "backup_learned"     // an imported passkey was used, and it is known whether it may be synced; Level says what it reaches
	PasskeyRenamed    Kind = "passkey_renamed"
	PasskeyRemoved    Kind = "passkey_removed"
	CodeAccepted      Kind = "code_accepted"       // an invitation or a recovery code lets a registration begin
	RecoveryCodeUsed  Kind = "recovery_code_used"  // registered a passkey; CodesLeft says how many are left
	RecoveryCodesMade Kind = "recovery_codes_made" // in the place of all earlier ones
	Invited           Kind = "passkey_invited"     // an administrator lets the user register a passkey
	GrantsRevoked     Kind = "grants_revoked"      // all grants of the user have ended
	UserErased        Kind = "user_erased"         // nothing is stored about the user any more; their grants have ended
)

// ByAdministrator is the action of what an administrator did to a user, through a command or the admin API, without a
// ceremony.
const ByAdministrator passkey.Action = "admin"

// Event is one decision. Empty fields are left out of the log.
type Event struct {
	Kind      Kind
	Reason    passkey.Refusal // why not; "" for what succeeded. For StepUpRequired: what was wrong with the grant
	User      string
	Passkey   string // short id
	Action    passkey.Action
	Level     string // demanded or proved
	Client    string // client address
	Host      string
	Method    string
	Path      string // without the query
	Rule      string
	RequestID string
	CodesLeft *int // for RecoveryCodeUsed
}

// Recorder takes events. It must be safe for concurrent use and must not block for long. An error says that the event is
// not recorded and had to be; whoever wanted to do what it is about must not. Where nothing has to be recorded, Record
// returns nil whatever becomes of it.
type Recorder interface {
	Record(Event) error
}

// ErrNotRecorded is in the error of an event that had to be recorded and is not.
var ErrNotRecorded = errors.New("the audit log does not take events")

// Log records into a zap logger: what succeeded or merely needs a step-up at info level, refusals at warn level.
type Log struct {
	Logger  *zap.Logger
	Require bool // an event that can't be written is an error
}

// Record implements [Recorder].
func (l Log) Record(e Event) error {
	level := zap.InfoLevel
	switch e.Kind {
	case RequestRefused, CeremonyRefused, CloneSuspected:
		level = zap.WarnLevel
	}
	entry := l.Logger.Check(level, string(e.Kind))
	if entry == nil && l.Require {
		return fmt.Errorf("%w: no log takes %s", ErrNotRecorded, l.Logger.Name())
	}
	if entry == nil {
		return nil
	}
	var failure complaint
	if l.Require {
		entry.ErrorOutput = &failure
	}
	fields := make([]zap.Field, 0, 12)
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, zap.String(key, value))
		}
	}
	add("reason", string(e.Reason))
	add("user", e.User)
	add("passkey", e.Passkey)
	add("action", string(e.Action))
	add("passkey_level", e.Level) // zap has a level of its own
	add("client", e.Client)
	add("host", e.Host)
	add("method", e.Method)
	add("path", e.Path)
	add("rule", e.Rule)
	add("request_id", e.RequestID)
	if e.CodesLeft != nil {
		fields = append(fields, zap.Int("codes_left", *e.CodesLeft))
	}
	entry.Write(fields...)
	if len(failure) > 0 {
		return fmt.Errorf("%w: %s", ErrNotRecorded, failure)
	}
	return nil
}

// complaint takes what zap has to say when an entry could not be written: it returns no error.
type complaint []byte

// Write implements [io.Writer].
func (c *complaint) Write(p []byte) (int, error) {
	*c = append(*c, bytes.TrimSpace(p)...)
	return len(p), nil
}

// Sync implements zapcore.WriteSyncer.
func (*complaint) Sync() error { return nil }
