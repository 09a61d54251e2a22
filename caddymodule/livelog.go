package caddymodule

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// liveLogger writes to the log of whatever configuration is in force. What survives reloads needs it: the logger of the
// configuration that opened it may write to a file that was closed since. It bears the name of the store's module.
func liveLogger(module caddy.ModuleInfo) *zap.Logger {
	return zap.New(liveCore{}).Named(string(module.ID))
}

type liveCore struct{ fields []zap.Field }

func (c liveCore) Enabled(level zapcore.Level) bool { return caddy.Log().Core().Enabled(level) }

func (c liveCore) With(fields []zap.Field) zapcore.Core {
	return liveCore{fields: slices.Concat(c.fields, fields)}
}

func (c liveCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

func (c liveCore) Write(entry zapcore.Entry, fields []zap.Field) error {
	return caddy.Log().Core().Write(entry, slices.Concat(c.fields, fields))
}

func (c liveCore) Sync() error { return caddy.Log().Core().Sync() }
