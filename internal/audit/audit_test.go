package audit_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
)

func TestLog(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	log := audit.Log{Logger: zap.New(core)}
	log.Record(audit.Event{
		Kind: audit.StepUpRequired, Reason: passkey.GrantStale, User: "alice", Level: "verified", Client: "192.0.2.1", Host: "console.example.com",
		Method: "GET", Path: "/admin", Rule: "rule 1", RequestID: "id",
	})
	log.Record(audit.Event{Kind: audit.CeremonyRefused, Reason: passkey.SignatureInvalid, Action: passkey.StepUp, Passkey: "short"})
	entries := logs.All()
	if len(entries) != 2 {
		t.Fatalf("%d entries", len(entries))
	}
	if entries[0].Level != zap.InfoLevel || entries[0].Message != "step_up_required" || entries[1].Level != zap.WarnLevel {
		t.Errorf("entries %v", entries)
	}
	if diff := cmp.Diff(map[string]any{
		"reason": "grant_stale", "user": "alice", "passkey_level": "verified", "client": "192.0.2.1", "host": "console.example.com", "method": "GET", "path": "/admin",
		"rule": "rule 1", "request_id": "id",
	}, entries[0].ContextMap()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"reason": "signature_invalid", "action": "step_up", "passkey": "short"}, entries[1].ContextMap()); diff != "" {
		t.Error(diff)
	}
	quiet := audit.Log{Logger: zap.NewNop()}
	quiet.Record(audit.Event{Kind: audit.GrantsRevoked})
}
