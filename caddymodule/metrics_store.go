package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// storeOperations are the methods of [ceremony.Store], as metrics and spans name them.
var storeOperations = []string{"begin", "issue", "consume", "account", "use", "register", "rename", "remove", "change_user", "register_invited", "invite", "erase"}

// watchedStore counts and times every call of a store, whichever it is, and makes a span of it where the request is traced.
type watchedStore struct {
	ceremony.Store
	meters *meters
}

// watch starts to watch a call. The function that it returns must be told how it ended.
func (s watchedStore) watch(ctx context.Context, operation string) (context.Context, func(error)) {
	began := time.Now()
	ctx, span := startSpan(ctx, "store", operation)
	return ctx, func(err error) {
		refusal := refusalIn(err)
		result := string(ceremonyOK)
		if refusal != "" {
			result = s.meters.reason(refusal)
		}
		s.meters.storeCalls.WithLabelValues(operation, result).Inc()
		s.meters.storeCall.WithLabelValues(operation).Observe(time.Since(began).Seconds())
		span.end(s.meters, refusal)
	}
}

// refusalIn finds the refusal in an error; what is none is internal, and "" is no error.
func refusalIn(err error) passkey.Refusal {
	var refusal passkey.Refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal
	}
	return passkey.Internal
}

func (s watchedStore) Begin(ctx context.Context, c passkey.Challenge) (passkey.Account, error) {
	ctx, ended := s.watch(ctx, "begin")
	account, err := s.Store.Begin(ctx, c)
	ended(err)
	return account, err
}

func (s watchedStore) Issue(ctx context.Context, c passkey.Challenge) error {
	ctx, ended := s.watch(ctx, "issue")
	err := s.Store.Issue(ctx, c)
	ended(err)
	return err
}

func (s watchedStore) Consume(ctx context.Context, claim passkey.Claim, now time.Time) (passkey.Challenge, passkey.Account, error) {
	ctx, ended := s.watch(ctx, "consume")
	challenge, account, err := s.Store.Consume(ctx, claim, now)
	ended(err)
	return challenge, account, err
}

func (s watchedStore) Account(ctx context.Context, user string) (passkey.Account, error) {
	ctx, ended := s.watch(ctx, "account")
	account, err := s.Store.Account(ctx, user)
	ended(err)
	return account, err
}

func (s watchedStore) Use(ctx context.Context, user string, use passkey.Use) error {
	ctx, ended := s.watch(ctx, "use")
	err := s.Store.Use(ctx, user, use)
	ended(err)
	return err
}

func (s watchedStore) Register(ctx context.Context, next passkey.User, p passkey.Passkey) error {
	ctx, ended := s.watch(ctx, "register")
	err := s.Store.Register(ctx, next, p)
	ended(err)
	return err
}

func (s watchedStore) Rename(ctx context.Context, next passkey.User, credentialID []byte, name string) error {
	ctx, ended := s.watch(ctx, "rename")
	err := s.Store.Rename(ctx, next, credentialID, name)
	ended(err)
	return err
}

func (s watchedStore) Remove(ctx context.Context, next passkey.User, credentialID []byte) error {
	ctx, ended := s.watch(ctx, "remove")
	err := s.Store.Remove(ctx, next, credentialID)
	ended(err)
	return err
}

func (s watchedStore) ChangeUser(ctx context.Context, next passkey.User) error {
	ctx, ended := s.watch(ctx, "change_user")
	err := s.Store.ChangeUser(ctx, next)
	ended(err)
	return err
}

func (s watchedStore) RegisterInvited(ctx context.Context, next passkey.User, p passkey.Passkey, invitation string) error {
	ctx, ended := s.watch(ctx, "register_invited")
	err := s.Store.RegisterInvited(ctx, next, p, invitation)
	ended(err)
	return err
}

func (s watchedStore) Invite(ctx context.Context, user string, invitation passkey.Invitation) error {
	ctx, ended := s.watch(ctx, "invite")
	err := s.Store.Invite(ctx, user, invitation)
	ended(err)
	return err
}

func (s watchedStore) Erase(ctx context.Context, user passkey.User, invitation string) error {
	ctx, ended := s.watch(ctx, "erase")
	err := s.Store.Erase(ctx, user, invitation)
	ended(err)
	return err
}
