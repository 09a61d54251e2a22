package gate

import (
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/stepgate/stepgate/assets"
	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authenticators"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// listPasskeys serves the account page, or the list as JSON to a client that does not prefer HTML.
func (g *Gate) listPasskeys(x *exchange, b *Backend) {
	account, err := b.Ceremonies.Account(x.context(), x.user)
	if err != nil {
		g.fail(x, "reading account", err)
		return
	}
	rows := make([]assets.Passkey, 0, len(account.Passkeys))
	for _, p := range account.Passkeys {
		rows = append(rows, row(b, p))
	}
	if !prefersHTML(x.r.Header.Values("Accept")) && !isNavigation(x.r) {
		g.writeJSON(x, http.StatusOK, accountAnswer{rows, g.recoveryOf(account.User), g.signalOf(account.User)})
		return
	}
	first := g.firstUse(x, account)
	g.party(x)
	page := assets.Account{
		Common: g.common(x), Passkeys: rows, Max: g.cfg.MaxPasskeys, FirstUse: first.open, Uninvited: first.uninvited,
		SignIn: string(first.signIn), SignInWithin: g.cfg.SignInWithin,
		Timeout: g.cfg.ChallengeTTL, KeepLast: g.cfg.KeepLast, Recovery: !g.cfg.NoRecovery,
	}
	if left := g.recoveryOf(account.User); left != nil {
		page.CodesLeft, page.CodesMadeAt = left.Left, left.MadeAt
	}
	g.writePage(x, http.StatusOK, page)
}

// accountAnswer is the account as JSON.
type accountAnswer struct {
	Passkeys []assets.Passkey `json:"passkeys"`
	Recovery *recoveryCodes   `json:"recovery_codes,omitempty"` // absent where there are none, or they are switched off
	Signal   *signal          `json:"signal,omitempty"`         // absent for a user without a record
}

// row is a passkey as the account page and the JSON list show it.
func row(b *Backend, p passkey.Passkey) assets.Passkey {
	r := assets.Passkey{
		ID: p.ShortID(), Name: p.Name, Authenticator: authenticators.Name(p.AAGUID), AAGUID: uuid.UUID(p.AAGUID).String(),
		Kind: kindOf(p), BackupEligible: p.BackupEligible, BackedUp: p.BackedUp, Level: b.Ceremonies.Reach(p).String(), CreatedAt: p.CreatedAt.UTC(),
	}
	if p.MaxLevel > 0 {
		r.MaxLevel = p.MaxLevel.String()
	}
	if !p.LastUsedAt.IsZero() {
		used := p.LastUsedAt.UTC()
		r.LastUsedAt = &used
		r.LastUsedOn = p.LastUsedOn
	}
	return r
}

// kindOf says, for people, where a passkey is kept. Transports are the browser's word, so nothing is decided on it.
func kindOf(p passkey.Passkey) string {
	portable := len(p.Transports) > 0 && !slices.ContainsFunc(p.Transports, func(t string) bool { return t == "internal" || t == "hybrid" })
	switch {
	case p.BackupUnknown:
		return assets.KindUnknown
	case p.BackupEligible && p.BackedUp:
		return assets.KindSynced
	case p.BackupEligible:
		return assets.KindSyncable
	case portable:
		return assets.KindSecurityKey
	}
	return assets.KindDevice
}

// startAuthorization starts the ceremony that adding or removing a passkey or making recovery codes needs (docs/rules.md,
// rule 9).
func (g *Gate) startAuthorization(x *exchange, b *Backend, body *strictjson.Reader) {
	action, id := body.Text("action"), body.OptionalText("id")
	purpose := ceremony.Purpose{Action: passkey.Action(action), Target: id}
	switch {
	case body.Err() != nil,
		purpose.Action != passkey.Add && purpose.Action != passkey.Remove && purpose.Action != passkey.MakeCodes,
		(purpose.Action == passkey.Remove) != (id != ""):
		g.refuse(x, passkey.BodyMalformed)
		return
	}
	party := g.party(x)
	if g.limited(x, b, party) {
		return
	}
	options, err := b.Ceremonies.Start(x.context(), party, purpose)
	if err != nil {
		g.refuseCeremony(x, purpose.Action, err)
		return
	}
	g.writeJSON(x, http.StatusOK, options)
}

// startRegistration starts registering a passkey: the first on the first factor alone, any other with the answer to an
// "add" ceremony, an invitation, or a recovery code.
func (g *Gate) startRegistration(x *exchange, b *Backend, body *strictjson.Reader) {
	name := body.OptionalText("name")
	action, authorization := authorizationIn(body)
	if err := body.Err(); err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	invitation, code := body.OptionalText("invitation"), body.OptionalText("recovery_code")
	level := g.wanted(x, b, body)
	if err := body.Err(); err != nil || moreThanOne(invitation != "", code != "", len(authorization) > 0) {
		g.refuse(x, passkey.BodyMalformed)
		return
	}
	party := g.party(x)
	if g.limited(x, b, party) {
		return
	}
	if invitation != "" || code != "" {
		start, given, by := b.Ceremonies.StartInvited, invitation, passkey.Invited
		if code != "" {
			start, given, by = b.Ceremonies.StartRecovered, code, passkey.Recovered
		}
		options, err := start(x.context(), party, name, given)
		if err != nil {
			g.refuseCeremony(x, by, err)
			return
		}
		event := x.event(audit.CodeAccepted)
		if event.Action = by; !g.record(event) {
			g.answer(x, passkey.AuditUnavailable) // the options stay here
			return
		}
		g.writeJSON(x, http.StatusOK, ceremony.Hint(options, level))
		return
	}
	begun, err := b.Ceremonies.StartRegistration(x.context(), party, name, authorization)
	if begun.Authorized != nil && !g.finished(x, b, passkey.Add, *begun.Authorized) {
		g.answer(x, passkey.AuditUnavailable) // the options stay here
		return
	}
	if err != nil {
		g.refuseCeremony(x, action, err)
		return
	}
	g.writeJSON(x, http.StatusOK, ceremony.Hint(begun.Options, level))
}

// wanted returns the level of the demand that a registration is for, where the page says which; zero otherwise. It is for
// the browser's hints only: a demand that can't be opened makes no difference.
func (g *Gate) wanted(x *exchange, b *Backend, body *strictjson.Reader) passkey.Level {
	if sealed, target := body.OptionalText("demand"), body.OptionalText("return_to"); body.Err() == nil && sealed+target != "" {
		if d, err := g.findDemand(x, b, sealed, target); err == nil {
			return d.Level
		}
	}
	return 0
}

func authorizationIn(body *strictjson.Reader) (passkey.Action, []byte) {
	if body.Given("authorization") {
		return passkey.Add, body.Raw("authorization")
	}
	return passkey.FirstUse, nil
}

func (g *Gate) finishRegistration(x *exchange, b *Backend, body *strictjson.Reader) {
	naming, credential := ceremony.Naming{Name: body.OptionalText("name"), Suggested: body.Flag("suggested")}, body.Raw("credential")
	if err := body.Err(); err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	party := g.party(x)
	settle, limited := g.limitedFinish(x, b, party)
	if limited {
		return
	}
	registered, err := b.Ceremonies.FinishRegistration(x.context(), party, naming, credential)
	settle(err)
	if err != nil {
		g.refuseCeremony(x, "", err) // only the challenge's record knew the action
		return
	}
	b.Views.Forget(x.user)
	event := x.event(audit.PasskeyRegistered)
	event.Passkey, event.Action, event.Level = registered.Passkey.ShortID(), registered.Action, b.Ceremonies.Reach(registered.Passkey).String()
	g.record(event)
	answer := registeredAnswer{Passkey: row(b, registered.Passkey), RecoveryCodes: registered.Codes}
	if registered.Action == passkey.Recovered {
		event.Kind, event.CodesLeft = audit.RecoveryCodeUsed, &registered.CodesLeft
		g.record(event)
		answer.CodesLeft = &registered.CodesLeft
	}
	if len(registered.Codes) > 0 {
		if event.Kind = audit.RecoveryCodesMade; !g.record(event) {
			answer.RecoveryCodes = nil // nobody gets to see what nobody knows of
		}
	}
	g.writeJSON(x, http.StatusCreated, answer)
}

// registeredAnswer is the passkey as in the list, and what came of recovery codes.
type registeredAnswer struct {
	assets.Passkey
	RecoveryCodes []string `json:"recovery_codes,omitempty"`      // made with a user's first passkey; nobody can read them again
	CodesLeft     *int     `json:"recovery_codes_left,omitempty"` // of a passkey that a recovery code registered
}

func moreThanOne(given ...bool) bool {
	n := 0
	for _, g := range given {
		if g {
			n++
		}
	}
	return n > 1
}

func (g *Gate) renamePasskey(x *exchange, b *Backend, body *strictjson.Reader) {
	name := body.OptionalText("name")
	if err := body.Err(); err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	if g.limited(x, b, g.party(x)) {
		return
	}
	renamed, err := b.Ceremonies.Rename(x.context(), x.user, g.idOf(x), name)
	if err != nil {
		g.refuseStored(x, "renaming passkey", err)
		return
	}
	event := x.event(audit.PasskeyRenamed)
	event.Passkey = renamed.ShortID()
	g.record(event)
	g.writeJSON(x, http.StatusOK, row(b, renamed))
}

func (g *Gate) removePasskey(x *exchange, b *Backend, body *strictjson.Reader) {
	if !body.Given("authorization") {
		g.refuse(x, passkey.AuthorizationNeeded)
		return
	}
	authorization, last := body.Raw("authorization"), body.Flag("last")
	if err := body.Err(); err != nil {
		g.refuse(x, refusalOf(err))
		return
	}
	party := g.party(x)
	settle, limited := g.limitedFinish(x, b, party)
	if limited {
		return
	}
	removed, err := b.Ceremonies.Remove(x.context(), party, g.idOf(x), authorization, last)
	settle(err)
	b.Views.Forget(x.user) // also on an error: the answer may have been lost after the write
	if removed.Authorized != nil {
		g.finished(x, b, passkey.Remove, *removed.Authorized)
	}
	if err != nil {
		g.refuseCeremony(x, passkey.Remove, err)
		return
	}
	event := x.event(audit.PasskeyRemoved)
	event.Passkey = removed.Passkey.ShortID()
	g.record(event)
	setPrivate(x.w.Header())
	x.w.WriteHeader(http.StatusNoContent)
}

// idOf returns the passkey's id in the path.
func (g *Gate) idOf(x *exchange) string {
	return strings.TrimPrefix(x.in.Original.Path, g.cfg.Path+"/passkeys/")
}

// refuseStored answers an error of a change that needs no ceremony.
func (g *Gate) refuseStored(x *exchange, doing string, err error) {
	if refusal := refusalOf(err); refusal != passkey.StoreUnavailable && refusal != passkey.Internal {
		g.refuse(x, refusal)
		return
	}
	g.fail(x, doing, err)
}
