package audit_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
)

// FuzzLog: whatever a client states, an event is one line, says what it is, and holds what was stated as data.
func FuzzLog(f *testing.F) {
	for _, text := range []string{
		"alice", "a\n{\"msg\":\"step_up\"}", "a\r\nb", "\",\"reason\":\"\",\"x\":\"", "\x00", "\xff", "\u2028", "\x1b[2J", `\`, `\u0022`, "</script>", strings.Repeat("a", 5000), "\u0085",
	} {
		f.Add(text, text, text, text)
	}
	f.Fuzz(func(t *testing.T, user, host, method, path string) {
		var asJSON, asText bytes.Buffer
		config := zapcore.EncoderConfig{MessageKey: "msg", LevelKey: "level", EncodeLevel: zapcore.LowercaseLevelEncoder}
		log := audit.Log{Logger: zap.New(zapcore.NewTee(
			zapcore.NewCore(zapcore.NewJSONEncoder(config), zapcore.AddSync(&asJSON), zap.InfoLevel),
			zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.AddSync(&asText), zap.InfoLevel),
		))}
		if err := log.Record(audit.Event{Kind: audit.RequestRefused, Reason: passkey.OriginUnknown, User: user, Host: host, Method: method, Path: path}); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{asJSON.String(), asText.String()} {
			if strings.Count(line, "\n") != 1 || strings.ContainsFunc(strings.NewReplacer("\t", "", "\n", "").Replace(line), func(r rune) bool { return r < 0x20 }) {
				t.Fatalf("%q", line)
			}
		}
		var got map[string]string
		if err := json.Unmarshal(asJSON.Bytes(), &got); err != nil {
			t.Fatalf("%q: %v", asJSON.String(), err)
		}
		for name, want := range map[string]string{"level": "warn", "msg": "request_refused", "reason": "origin_unknown", "user": user, "host": host, "method": method, "path": path} {
			if utf8.ValidString(want) && got[name] != want {
				t.Fatalf("%s: %q, want %q", name, got[name], want)
			}
		}
		if len(got) > 7 {
			t.Fatalf("members that nobody named: %v", got)
		}
	})
}
