package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/authenticators"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/passkey"
)

// administration is what an administrator does to the users of one relying party: directly in the store, or through the
// gateway that has it open. Errors wrap a [passkey.Refusal] where the store or the gateway gave one.
type administration interface {
	// each calls yield for every user, in the store's own order. An error of yield ends it and is returned.
	each(ctx context.Context, yield func(userRecord) error) error

	// user returns one; [passkey.UserUnknown] for one never seen, nor invited.
	user(ctx context.Context, name string) (userRecord, error)

	// stored returns everything that is stored about a user; [passkey.UserUnknown] where that is nothing.
	stored(ctx context.Context, name string) (storedRecord, error)

	// remove removes one passkey, the last one too, and returns it as it was.
	remove(ctx context.Context, name, id string) (passkeyRecord, error)

	// revoke ends all grants of a user.
	revoke(ctx context.Context, name string) error

	// reset removes all passkeys and ends all grants.
	reset(ctx context.Context, name string) (resetRecord, error)

	// erase removes everything that is stored about a user and ends all grants. With a tag, whoever has another one by now is
	// left alone: [passkey.Conflict].
	erase(ctx context.Context, name, tag string) (resetRecord, error)

	// invite makes an invitation that is good for so long, for a user who need not be known. It takes the place of an
	// earlier one.
	invite(ctx context.Context, name string, lasts time.Duration) (invitationRecord, error)
}

// userRecord is a user as the admin API and the commands show them in JSON.
type userRecord struct {
	User       string          `json:"user"`
	Registered bool            `json:"registered"`              // ever registered a passkey; false only where an invitation is all there is
	Level      string          `json:"level,omitempty"`         // the highest that any passkey reaches; none without passkeys
	LastUsedAt *time.Time      `json:"last_used_at,omitempty"`  // of any passkey that is there
	Since      *time.Time      `json:"since,omitempty"`         // when the oldest passkey that is there was registered
	Invited    *time.Time      `json:"invited_until,omitempty"` // when their invitation expires, while it is good
	Passkeys   []passkeyRecord `json:"passkeys"`                // oldest first
	Tag        string          `json:"tag"`                     // see [passkey.Account.Tag]
}

// passkeyRecord has the members of the list that the account page has.
type passkeyRecord struct {
	ID             string     `json:"id"` // short id
	Name           string     `json:"name"`
	Authenticator  string     `json:"authenticator"`
	AAGUID         string     `json:"aaguid"`
	BackupEligible bool       `json:"backup_eligible"`
	BackupUnknown  bool       `json:"backup_unknown,omitempty"` // imported, and not used since
	BackedUp       bool       `json:"backed_up"`
	Level          string     `json:"level"`
	CreatedAt      time.Time  `json:"created_at"`
	LastUsedAt     *time.Time `json:"last_used_at,omitempty"`
	LastUsedOn     string     `json:"last_used_on,omitempty"` // origin
}

// userPage is some users, and who to go on behind.
type userPage struct {
	Users []userRecord `json:"users"`
	Next  string       `json:"next,omitempty"`
}

// invitationRecord is an invitation as it is handed over. Nobody can look the code up later.
type invitationRecord struct {
	User      string    `json:"user"`
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at"`
	Links     []string  `json:"links"` // the account page of each origin, with the code in the fragment, which reaches no server
}

// resetRecord is what a reset or an erasure did.
type resetRecord struct {
	User    string          `json:"user"`
	Removed []passkeyRecord `json:"removed"`
}

// reaches tells which level a passkey reaches: what a ceremony would prove now, or what its record says.
type reaches func(passkey.Passkey) passkey.Level

func recordOf(account passkey.Account, now time.Time, reach reaches) userRecord {
	var highest passkey.Level
	for _, p := range account.Passkeys {
		highest = max(highest, reach(p))
	}
	r := userRecord{
		User: account.User.Name, Registered: account.User.Version != 0, Level: highest.String(), Passkeys: recordsOf(account.Passkeys, reach), Tag: account.Tag(),
	}
	if until := account.Invitation.Expires.UTC(); account.Invitation.ID != "" && now.Before(until) {
		r.Invited = &until
	}
	for _, p := range r.Passkeys {
		if r.Since == nil || p.CreatedAt.Before(*r.Since) {
			r.Since = &p.CreatedAt
		}
		if p.LastUsedAt != nil && (r.LastUsedAt == nil || p.LastUsedAt.After(*r.LastUsedAt)) {
			r.LastUsedAt = p.LastUsedAt
		}
	}
	return r
}

func recordsOf(passkeys []passkey.Passkey, reach reaches) []passkeyRecord {
	list := make([]passkeyRecord, 0, len(passkeys))
	for _, p := range passkeys {
		list = append(list, passkeyRecordOf(p, reach))
	}
	return list
}

func passkeyRecordOf(p passkey.Passkey, reach reaches) passkeyRecord {
	r := passkeyRecord{
		ID: p.ShortID(), Name: p.Name, Authenticator: authenticators.Name(p.AAGUID), AAGUID: uuid.UUID(p.AAGUID).String(),
		BackupEligible: p.BackupEligible, BackupUnknown: p.BackupUnknown, BackedUp: p.BackedUp, Level: reach(p).String(), CreatedAt: p.CreatedAt.UTC(), LastUsedOn: p.LastUsedOn,
	}
	if !p.LastUsedAt.IsZero() {
		used := p.LastUsedAt.UTC()
		r.LastUsedAt = &used
	}
	return r
}

// lister is what listing needs of a store; see transfer.Store for the contract.
type lister interface {
	Users(ctx context.Context, after string, yield func(passkey.Account) error) error
}

// administrator is an administration of an open store.
type administrator struct {
	service *ceremony.Service
	store   ceremony.Store
	reach   reaches
	forget  func(user string) // drops this process's view of a user
	audit   audit.Recorder
	client  string   // address of whoever asked, for the audit
	pages   []string // URLs of account pages
}

// each implements [administration]. It is one listing: each page of its own would have DynamoDB read more than it gives.
func (a *administrator) each(ctx context.Context, yield func(userRecord) error) error {
	return a.list(ctx, "", yield)
}

func (a *administrator) list(ctx context.Context, after string, yield func(userRecord) error) error {
	store, ok := a.store.(lister)
	if !ok {
		return fmt.Errorf("%w: %T can't list users", passkey.Internal, a.store)
	}
	now := time.Now()
	return store.Users(ctx, after, func(account passkey.Account) error { return yield(recordOf(account, now, a.reach)) })
}

// errEnough ends a listing.
var errEnough = errors.New("enough users")

// page returns users beginning behind the one named after, and the name to go on behind; "" at the end.
func (a *administrator) page(ctx context.Context, after string, limit int) (page userPage, err error) {
	if after != "" {
		if err := passkey.CheckUser(after); err != nil {
			return userPage{}, err
		}
	}
	page.Users = []userRecord{}
	err = a.list(ctx, after, func(user userRecord) error {
		if len(page.Users) == limit {
			page.Next = page.Users[limit-1].User
			return errEnough
		}
		page.Users = append(page.Users, user)
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return userPage{}, err
	}
	return page, nil
}

func (a *administrator) user(ctx context.Context, name string) (userRecord, error) {
	if err := passkey.CheckUser(name); err != nil {
		return userRecord{}, err
	}
	account, err := a.service.Account(ctx, name)
	if err != nil {
		return userRecord{}, err
	}
	return recordOf(account, time.Now(), a.reach).known()
}

// known returns the record, or [passkey.UserUnknown] for somebody who is as one never seen.
func (r userRecord) known() (userRecord, error) {
	if !r.Registered && r.Invited == nil {
		return userRecord{}, passkey.UserUnknown
	}
	return r, nil
}

func (a *administrator) remove(ctx context.Context, name, id string) (passkeyRecord, error) {
	if err := passkey.CheckUser(name); err != nil {
		return passkeyRecord{}, err
	}
	removed, err := a.service.Discard(ctx, name, id)
	a.forget(name) // also on an error: the answer may have been lost after the write
	if err != nil {
		return passkeyRecord{}, err
	}
	if err := a.removed(name, removed); err != nil {
		return passkeyRecord{}, err
	}
	return passkeyRecordOf(removed, a.reach), nil
}

func (a *administrator) revoke(ctx context.Context, name string) error {
	if _, err := a.user(ctx, name); err != nil {
		return err // for a user never seen there is nothing to revoke: the name is probably a mistake
	}
	err := a.service.Revoke(ctx, name)
	a.forget(name)
	if err != nil {
		return err
	}
	return a.record(audit.Event{Kind: audit.GrantsRevoked, User: name})
}

func (a *administrator) reset(ctx context.Context, name string) (resetRecord, error) {
	if err := passkey.CheckUser(name); err != nil {
		return resetRecord{}, err
	}
	removed, err := a.service.Reset(ctx, name)
	return a.ended(name, removed, err, audit.GrantsRevoked)
}

// erase implements [administration].
func (a *administrator) erase(ctx context.Context, name, tag string) (resetRecord, error) {
	if err := passkey.CheckUser(name); err != nil {
		return resetRecord{}, err
	}
	removed, err := a.service.Erase(ctx, name, tag)
	return a.ended(name, removed, err, audit.UserErased)
}

// ended forgets and records what a reset or an erasure did. Access is ended whether that can be recorded or not.
func (a *administrator) ended(name string, removed []passkey.Passkey, err error, kind audit.Kind) (resetRecord, error) {
	a.forget(name)
	var lost error
	for _, p := range removed {
		lost = errors.Join(lost, a.removed(name, p))
	}
	switch {
	case err != nil && len(removed) > 0:
		return resetRecord{}, &cutOffError{len(removed), err}
	case err != nil:
		return resetRecord{}, err
	}
	if errors.Join(lost, a.record(audit.Event{Kind: kind, User: name})) != nil {
		return resetRecord{}, errNotAudited
	}
	return resetRecord{name, recordsOf(removed, a.reach)}, nil
}

// cutOffError is the error of a reset or an erasure that had begun.
type cutOffError struct {
	removed int
	cause   error
}

func (e *cutOffError) Error() string {
	return fmt.Sprintf("cut off after %s had been removed; do it again to go on", count(e.removed, "passkey"))
}

func (e *cutOffError) Unwrap() error { return e.cause }

// removedBefore returns how many passkeys had been removed when a reset or an erasure was cut off, here or at a gateway.
func removedBefore(err error) int {
	if cut := new(cutOffError); errors.As(err, &cut) {
		return cut.removed
	}
	if from := new(gatewayError); errors.As(err, &from) {
		return from.removed
	}
	return 0
}

func (a *administrator) invite(ctx context.Context, name string, lasts time.Duration) (invitationRecord, error) {
	if err := checkInvitation(lasts); err != nil {
		return invitationRecord{}, err
	}
	code, expires, err := a.service.Invite(ctx, name, lasts)
	if err != nil {
		return invitationRecord{}, err
	}
	if a.record(audit.Event{Kind: audit.Invited, User: name}) != nil {
		return invitationRecord{}, fmt.Errorf("%w: nobody is told the invitation's code, because the audit log takes no line of it (audit require)", passkey.AuditUnavailable)
	}
	invitation := invitationRecord{User: name, Code: code, ExpiresAt: expires, Links: []string{}}
	for _, page := range a.pages {
		invitation.Links = append(invitation.Links, page+"#invitation="+code)
	}
	return invitation, nil
}

func checkInvitation(lasts time.Duration) error {
	if lasts < ceremony.MinInvitation || lasts > ceremony.MaxInvitation {
		return fmt.Errorf("%w: an invitation is good for 1m to 30d, not for %s", passkey.BodyMalformed, lasts)
	}
	return nil
}

// accountPages returns the account pages of origins, at the gateway's usual prefix.
func accountPages(origins []string) (pages []string) {
	for _, origin := range origins {
		pages = append(pages, origin+gate.DefaultPath+"/passkeys")
	}
	return pages
}

func (a *administrator) removed(name string, p passkey.Passkey) error {
	return a.record(audit.Event{Kind: audit.PasskeyRemoved, User: name, Passkey: p.ShortID(), Level: a.reach(p).String()})
}

// errNotAudited is the error of what was done and had to be recorded, and is not.
var errNotAudited = fmt.Errorf("%w: it is done, and the audit log took no line of it (audit require); the log says why", passkey.AuditUnavailable)

// record returns errNotAudited for what had to be recorded and is not.
func (a *administrator) record(e audit.Event) error {
	e.Action, e.Client = audit.ByAdministrator, a.client
	if a.audit.Record(e) != nil {
		return errNotAudited
	}
	return nil
}
