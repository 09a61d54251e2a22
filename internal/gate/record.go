package gate

import (
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
)

// record records an event. It reports whether that was done, or did not have to be. From the first event that had to be
// recorded and was not, protected routes and changes are closed: until the recorder takes one again, which each refusal
// tries.
func (g *Gate) record(event audit.Event) bool {
	err := g.cfg.Audit.Record(event)
	switch mute := err != nil; {
	case mute && !g.mute.Swap(true):
		g.cfg.Logger.Error("the audit log does not take events: protected routes are closed until it does (audit require)", zap.Error(err))
	case !mute && g.mute.Load() && g.mute.Swap(false):
		g.cfg.Logger.Info("the audit log takes events again")
	}
	return err == nil
}

// muted refuses a request while nothing can be recorded that has to be.
func (g *Gate) muted(x *exchange) bool {
	if !g.mute.Load() {
		return false
	}
	g.refuse(x, passkey.AuditUnavailable)
	return true
}
