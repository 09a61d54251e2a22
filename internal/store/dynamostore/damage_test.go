package dynamostore_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// A caller's mistake is refused as one and writes nothing.
func TestMistakesAreRefused(t *testing.T) {
	s := newTables(t).open(dynamostore.Options{}).For(rpID)
	ctx, p := t.Context(), newPasskey("laptop")
	user := register(t, s, "ada", p)
	other := newPasskey("phone")
	another := func(edit func(*passkey.Passkey)) error {
		p := other
		edit(&p)
		next, _ := user.Adding(p)
		return s.Register(ctx, next, p)
	}
	challenge := func(edit func(*passkey.Challenge)) error {
		c := newChallenge("ada", "one")
		edit(&c)
		_, err := s.Begin(ctx, c)
		return err
	}
	next := user.InEpoch(passkey.Epoch{1})
	removed, _ := user.Removing(p.ID)
	added, _ := user.Adding(other)
	twice := added
	twice.Passkeys = append(twice.Passkeys, twice.Passkeys[1])
	for name, err := range map[string]error{
		"registering without listing":       s.Register(ctx, next, other),
		"registering and listing twice":     s.Register(ctx, twice, other),
		"registering and dropping another":  s.Register(ctx, passkey.User{Name: "ada", Version: 2, Passkeys: added.Passkeys[1:]}, other),
		"a first passkey that is not alone": s.Register(ctx, passkey.User{Name: "bob", Version: 1, Passkeys: added.Passkeys}, other),
		"renaming and dropping":             s.Rename(ctx, removed, p.ID, "renamed"),
		"renaming to nothing":               s.Rename(ctx, next, p.ID, ""),
		"removing and still listing":        s.Remove(ctx, next, p.ID),
		"revoking and dropping":             s.Revoke(ctx, removed),
		"revoking and listing what is not":  s.Revoke(ctx, added),
		"a passkey without a public key":    another(func(p *passkey.Passkey) { p.PublicKey = nil }),
		"a passkey without an id":           another(func(p *passkey.Passkey) { p.ID = []byte{} }),
		"a passkey without a date":          another(func(p *passkey.Passkey) { p.CreatedAt = time.Time{} }),
		"a passkey of the year 10000":       another(func(p *passkey.Passkey) { p.CreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }),
		"a format that is not UTF-8":        another(func(p *passkey.Passkey) { p.AttestationFormat = "\xff" }),
		"another relying party's challenge": challenge(func(c *passkey.Challenge) { c.RPID = "other.example" }),
		"a challenge for nothing":           challenge(func(c *passkey.Challenge) { c.Action = "" }),
		"a challenge of no known level":     challenge(func(c *passkey.Challenge) { c.Level = 9 }),
		"a challenge that never expires":    challenge(func(c *passkey.Challenge) { c.Expires = time.Time{} }),
		"importing nobody":                  s.Import(ctx, passkey.Account{User: passkey.User{Name: "bob", Handle: []byte("handle")}}),
		"importing without a handle":        s.Import(ctx, passkey.Account{User: passkey.User{Name: "bob", Version: 1}}),
		"importing what is not listed": s.Import(ctx, passkey.Account{
			User: passkey.User{Name: "bob", Version: 1, Handle: []byte("handle")}, Passkeys: []passkey.Passkey{other},
		}),
	} {
		refused(t, name, err, passkey.Internal)
	}
	for name, user := range map[string]string{"not UTF-8": "a\xff", "too long": string(make([]byte, passkey.MaxUserLength+1))} {
		_, err := s.Account(ctx, user)
		refused(t, "a user name that is "+name, err, passkey.UserInvalid)
		refused(t, "a user name that is "+name, s.Use(ctx, user, passkey.Use{ID: p.ID, Ceremony: "x", At: now}), passkey.UserInvalid)
	}
	if account, err := s.Account(ctx, "ada"); err != nil || account.User.Version != 1 || len(account.Passkeys) != 1 {
		t.Errorf("account after mistakes: %+v, %v", account, err)
	}
	must(t, another(func(*passkey.Passkey) {}))
}

// The same challenge id twice: a broken source of randomness, or a replay. The first one stays.
func TestRepeatedChallenge(t *testing.T) {
	s := newTables(t).open(dynamostore.Options{}).For(rpID)
	c := newChallenge("ada", "one")
	_, err := s.Begin(t.Context(), c)
	must(t, err)
	again := c
	again.Action = passkey.Another
	_, err = s.Begin(t.Context(), again)
	refused(t, "the same id again", err, passkey.StoreUnavailable)
	got, _, err := s.Consume(t.Context(), claimOf(c), now)
	must(t, err)
	same(t, "challenge", got, c)
}

// An item that is not what this Stepgate would have written: each attribute missing, of another type, empty or out of
// range, one too many, another version. The account can't be read then, so no flow goes on, and nothing is overwritten.
func TestDamagedRecords(t *testing.T) {
	tables := newTables(t)
	s := tables.open(dynamostore.Options{}).For(rpID)
	p := newPasskey("laptop")
	p.LastUsedAt, p.Transports, p.AttestationFormat = now, []string{"usb"}, "packed"
	user := register(t, s, "ada", p)
	c := newChallenge("ada", "one")
	c.Target, c.Level, c.Name, c.Handle = "target", passkey.Verified, "name", []byte("handle")
	_, err := s.Begin(t.Context(), c)
	must(t, err)

	readAccount := func() error { _, err := s.Account(t.Context(), "ada"); return err }
	consume := func() error { _, _, err := s.Consume(t.Context(), claimOf(c), now); return err }
	read := map[string]func() error{"user": readAccount, "passkey": readAccount, "challenge": consume}
	optional := map[string]bool{ // may be missing, as they are when they are empty
		"passkey.last_used_at": true, "passkey.attestation_format": true, "passkey.last_ceremony": true, "user.handle": true,
		"challenge.target": true, "challenge.level": true, "challenge.name": true, "challenge.handle": true, "challenge.origin": true,
	}
	for kind, record := range map[string]struct {
		table string
		item  item
	}{
		"user": {tables.passkeys, tables.find(tables.passkeys, "user")}, "passkey": {tables.passkeys, tables.find(tables.passkeys, "passkey#")},
		"challenge": {tables.challenges, tables.find(tables.challenges, c.ID)},
	} {
		for name := range record.item {
			if name == "pk" || name == "sk" {
				continue
			}
			edits := map[string]types.AttributeValue{
				"of another type": &types.AttributeValueMemberNULL{Value: true}, "a set": &types.AttributeValueMemberSS{Value: []string{"x"}},
				"an empty list": &types.AttributeValueMemberL{}, "a negative number": &types.AttributeValueMemberN{Value: "-1"},
				"a fraction": &types.AttributeValueMemberN{Value: "1.5"}, "a huge number": &types.AttributeValueMemberN{Value: "1" + strings.Repeat("0", 30)},
				"missing": nil,
			}
			for edit, value := range edits {
				if edit == "missing" && optional[kind+"."+name] || edit == "an empty list" && (name == "transports" || name == "passkeys") {
					continue
				}
				damaged := maps.Clone(record.item)
				if value == nil {
					delete(damaged, name)
				} else {
					damaged[name] = value
				}
				what := fmt.Sprintf("%s: %s %s", kind, name, edit)
				tables.put(record.table, damaged)
				refused(t, what, read[kind](), passkey.StoreUnavailable)
				if kind != "challenge" {
					same(t, what+": the item afterwards", tables.find(record.table, damaged["sk"].(*types.AttributeValueMemberS).Value), damaged)
				}
			}
		}
		for edit, change := range map[string]item{
			"one attribute too many": {"extra": &types.AttributeValueMemberS{Value: "x"}},
			"a future version":       {"v": &types.AttributeValueMemberN{Value: "2"}},
			"no version it knows":    {"v": &types.AttributeValueMemberS{Value: "1"}},
			"another relying party":  {"rp_id": &types.AttributeValueMemberS{Value: "other.example"}},
			"another user":           {"user": &types.AttributeValueMemberS{Value: "eve"}},
		} {
			damaged := maps.Clone(record.item)
			maps.Copy(damaged, change)
			tables.put(record.table, damaged)
			refused(t, kind+": "+edit, read[kind](), passkey.StoreUnavailable)
			if edit == "a future version" {
				// Methods that write on their own are refused as well.
				next := user.InEpoch(passkey.Epoch{1})
				removed, _ := user.Removing(p.ID)
				if kind == "user" {
					refused(t, "Revoke on a future version", s.Revoke(t.Context(), next), passkey.StoreUnavailable)
					refused(t, "Remove on a future version", s.Remove(t.Context(), removed, p.ID), passkey.StoreUnavailable)
				}
				if kind == "passkey" {
					refused(t, "Use on a future version", s.Use(t.Context(), "ada", passkey.Use{ID: p.ID, Ceremony: "x", SignCount: 9, At: now}), passkey.StoreUnavailable)
					refused(t, "Rename on a future version", s.Rename(t.Context(), next, p.ID, "x"), passkey.StoreUnavailable)
					refused(t, "Remove on a future version", s.Remove(t.Context(), removed, p.ID), passkey.StoreUnavailable)
				}
			}
			// A challenge whose own attributes fit the claim is used up, as one that fails later is; others stay.
			if kind != "challenge" || edit == "a future version" {
				got := tables.find(record.table, damaged["sk"].(*types.AttributeValueMemberS).Value)
				same(t, kind+": "+edit+": the item afterwards", got, damaged)
			}
		}
		tables.put(record.table, record.item)
		must(t, read[kind]())
	}

	// Records that disagree with each other.
	tables.remove(tables.passkeys, tables.find(tables.passkeys, "passkey#"))
	refused(t, "a passkey's record is gone", readAccount(), passkey.StoreUnavailable)
}
