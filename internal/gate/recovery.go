package gate

import (
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// recoveryCodes says how many recovery codes a user has, and never which.
type recoveryCodes struct {
	Left   int        `json:"left"`
	MadeAt *time.Time `json:"made_at"` // null: none were ever made
}

// recoveryOf returns nil where recovery codes are switched off, or the user has no record and so no use for them.
func (g *Gate) recoveryOf(user passkey.User) *recoveryCodes {
	if g.cfg.NoRecovery || user.Version == 0 {
		return nil
	}
	codes := &recoveryCodes{Left: len(user.Recovery.Codes)}
	if at := user.Recovery.MadeAt.UTC(); !at.IsZero() {
		codes.MadeAt = &at
	}
	return codes
}

// codesLeft returns how many recovery codes of a user are of use.
func (g *Gate) codesLeft(user passkey.User) int {
	if codes := g.recoveryOf(user); codes != nil {
		return codes.Left
	}
	return 0
}

// bounded reports whether no passkey that the user could add would reach a level, because those that could authorise it are
// bounded below it, by a recovery code, and hand that down.
func bounded(account passkey.Account, level passkey.Level) bool {
	reach := account.Reach()
	return len(account.Passkeys) > 0 && !slices.ContainsFunc(account.Passkeys, func(p passkey.Passkey) bool {
		return p.Reach() == reach && p.Bounded(level) == level
	})
}

// makeRecoveryCodes gives the user new recovery codes in the place of those they had (docs/rules.md, rule 9).
func (g *Gate) makeRecoveryCodes(x *exchange, b *Backend, body *strictjson.Reader) {
	if !body.Given("authorization") {
		g.refuse(x, passkey.AuthorizationNeeded)
		return
	}
	party := g.party(x)
	settle, limited := g.limitedFinish(x, b, party)
	if limited {
		return
	}
	made, err := b.Ceremonies.MakeCodes(x.context(), party, body.Raw("authorization"))
	settle(err)
	if made.Authorized != nil && !g.finished(x, b, passkey.MakeCodes, *made.Authorized) {
		g.answer(x, passkey.AuditUnavailable) // the codes stay here
		return
	}
	if err != nil {
		g.refuseCeremony(x, passkey.MakeCodes, err)
		return
	}
	event := x.event(audit.RecoveryCodesMade)
	event.Passkey, event.Action = made.Authorized.Passkey.ShortID(), passkey.MakeCodes
	if !g.record(event) {
		g.answer(x, passkey.AuditUnavailable)
		return
	}
	g.writeJSON(x, http.StatusOK, map[string][]string{"recovery_codes": made.Codes})
}

// signal is what a browser tells password managers after a change, so that they drop what is of no use here any more: the
// members of AllAcceptedCredentialsOptions and CurrentUserDetailsOptions (WebAuthn L3 §5.1.10). It is only ever about the
// user who asks.
type signal struct {
	RPID        string   `json:"rpId"`
	UserID      string   `json:"userId"` // base64url
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
	Accepted    []string `json:"allAcceptedCredentialIds"` // base64url
}

// signalOf returns nil for a user without a record, who has no handle to be known by, and for one whose handle was not drawn
// here: the relying party that they were imported from knows them by it too, and perhaps passkeys that are not here.
func (g *Gate) signalOf(user passkey.User) *signal {
	if len(user.Handle) != passkey.HandleLength {
		return nil
	}
	s := &signal{
		RPID: g.cfg.RPID, UserID: base64.RawURLEncoding.EncodeToString(user.Handle), Name: user.Name, DisplayName: user.Name,
		Accepted: make([]string, 0, len(user.Passkeys)),
	}
	for _, ref := range user.Passkeys {
		s.Accepted = append(s.Accepted, base64.RawURLEncoding.EncodeToString(ref.ID))
	}
	return s
}
