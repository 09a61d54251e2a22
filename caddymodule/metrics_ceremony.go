package caddymodule

import (
	"context"
	"strconv"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// ceremonyOK is the result of what succeeded.
const ceremonyOK gate.Result = "ok"

// watchedCeremonies counts and times ceremonies, and makes a span of each step where the request is traced. A ceremony is
// counted when it ends: when it is finished or refused, or when it was refused at the start.
type watchedCeremonies struct {
	gate.Ceremonies
	meters *meters
}

// step is one step of a ceremony under way.
type step struct {
	meters *meters
	kind   passkey.Kind
	action passkey.Action
	began  time.Time
	span   span
}

func (w watchedCeremonies) step(ctx context.Context, name string, kind passkey.Kind, action passkey.Action) (context.Context, *step) {
	ctx, span := startSpan(ctx, "ceremony", "")
	span.set("step", name)
	span.set("kind", kind.String())
	return ctx, &step{w.meters, kind, action, time.Now(), span}
}

// opened ends the start of a ceremony.
func (s *step) opened(err error) {
	refusal := refusalIn(err)
	if refusal == "" {
		s.meters.started.WithLabelValues(s.kind.String(), s.meters.action(s.action)).Inc()
	} else {
		s.count(refusal)
	}
	s.end(refusal)
}

// finished ends the finish of a ceremony: its duration is what people wait for.
func (s *step) finished(err error) {
	refusal := refusalIn(err)
	s.count(refusal)
	s.meters.ceremony.WithLabelValues(s.kind.String(), string(gate.ResultOf(refusal, ceremonyOK))).Observe(time.Since(s.began).Seconds())
	s.end(refusal)
}

func (s *step) count(refusal passkey.Refusal) {
	s.meters.ceremonies.WithLabelValues(s.kind.String(), s.meters.action(s.action), string(gate.ResultOf(refusal, ceremonyOK)), s.meters.reason(refusal)).Inc()
}

func (s *step) end(refusal passkey.Refusal) {
	s.span.set("action", s.meters.action(s.action))
	s.span.end(s.meters, refusal)
}

// action returns an action as a label; "" for one that is not of the list.
func (m *meters) action(action passkey.Action) string {
	if action.Kind() == 0 {
		return ""
	}
	return string(action)
}

func (w watchedCeremonies) Start(ctx context.Context, party ceremony.Party, purpose ceremony.Purpose) (ceremony.Options, error) {
	ctx, step := w.step(ctx, "start", passkey.Authentication, purpose.Action)
	options, err := w.Ceremonies.Start(ctx, party, purpose)
	step.opened(err)
	return options, err
}

func (w watchedCeremonies) Finish(ctx context.Context, party ceremony.Party, purpose ceremony.Purpose, credential []byte) (ceremony.Proof, error) {
	ctx, step := w.step(ctx, "finish", passkey.Authentication, purpose.Action)
	proof, err := w.Ceremonies.Finish(ctx, party, purpose, credential)
	step.finished(err)
	return proof, err
}

// StartRegistration starts one ceremony and, with an authorization, finishes another before. Each is counted: where both
// would be to blame for an error, it is the one that comes first.
func (w watchedCeremonies) StartRegistration(ctx context.Context, party ceremony.Party, name string, authorization []byte) (ceremony.Begun, error) {
	if len(authorization) == 0 {
		ctx, step := w.step(ctx, "start", passkey.Registration, passkey.FirstUse)
		begun, err := w.Ceremonies.StartRegistration(ctx, party, name, authorization)
		step.opened(err)
		return begun, err
	}
	ctx, adding := w.step(ctx, "finish", passkey.Authentication, passkey.Add)
	begun, err := w.Ceremonies.StartRegistration(ctx, party, name, authorization)
	if begun.Authorized == nil && err != nil {
		adding.finished(err)
		return begun, err
	}
	adding.finished(nil)
	another := &step{meters: w.meters, kind: passkey.Registration, action: passkey.Another}
	another.opened(err)
	return begun, err
}

func (w watchedCeremonies) StartInvited(ctx context.Context, party ceremony.Party, name, invitation string) (ceremony.Options, error) {
	ctx, step := w.step(ctx, "start", passkey.Registration, passkey.Invited)
	options, err := w.Ceremonies.StartInvited(ctx, party, name, invitation)
	step.opened(err)
	return options, err
}

func (w watchedCeremonies) StartRecovered(ctx context.Context, party ceremony.Party, name, code string) (ceremony.Options, error) {
	ctx, step := w.step(ctx, "start", passkey.Registration, passkey.Recovered)
	options, err := w.Ceremonies.StartRecovered(ctx, party, name, code)
	step.opened(err)
	return options, err
}

// MakeCodes finishes a ceremony, and then makes recovery codes: what is refused after the ceremony is not its failure.
func (w watchedCeremonies) MakeCodes(ctx context.Context, party ceremony.Party, authorization []byte) (ceremony.MadeCodes, error) {
	ctx, step := w.step(ctx, "finish", passkey.Authentication, passkey.MakeCodes)
	made, err := w.Ceremonies.MakeCodes(ctx, party, authorization)
	if made.Authorized != nil {
		step.finished(nil)
	} else {
		step.finished(err)
	}
	return made, err
}

// FinishRegistration does not know the action of a registration that is refused: only the challenge's record did.
func (w watchedCeremonies) FinishRegistration(ctx context.Context, party ceremony.Party, naming ceremony.Naming, credential []byte) (ceremony.Registered, error) {
	ctx, step := w.step(ctx, "finish", passkey.Registration, "")
	registered, err := w.Ceremonies.FinishRegistration(ctx, party, naming, credential)
	if err == nil {
		step.action = registered.Action
		w.meters.registered.WithLabelValues(strconv.FormatBool(registered.Action == passkey.FirstUse)).Inc()
	}
	step.finished(err)
	return registered, err
}

// Remove finishes a ceremony, and then removes a passkey: what is refused after the ceremony is not its failure.
func (w watchedCeremonies) Remove(ctx context.Context, party ceremony.Party, shortID string, authorization []byte, last bool) (ceremony.Removed, error) {
	ctx, step := w.step(ctx, "finish", passkey.Authentication, passkey.Remove)
	removed, err := w.Ceremonies.Remove(ctx, party, shortID, authorization, last)
	if err == nil {
		w.meters.removed.Inc()
	}
	if removed.Authorized != nil {
		step.finished(nil)
	} else {
		step.finished(err)
	}
	return removed, err
}
