package dynamostore_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// Names that a key can't hold are nobody's: the gate refused them before.
func TestNamesThatAreNone(t *testing.T) {
	s := newTables(t).open(dynamostore.Options{}).For(rpID)
	for name, user := range map[string]string{"not UTF-8": "a\xff", "too long": strings.Repeat("a", passkey.MaxUserLength+1)} {
		_, err := s.Account(t.Context(), user)
		refused(t, "a user name that is "+name, err, passkey.UserInvalid)
		refused(t, "a user name that is "+name, s.Use(t.Context(), user, passkey.Use{ID: []byte("id"), Ceremony: "x", At: now}), passkey.UserInvalid)
	}
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
					refused(t, "ChangeUser on a future version", s.ChangeUser(t.Context(), next), passkey.StoreUnavailable)
					refused(t, "Remove on a future version", s.Remove(t.Context(), removed, p.ID), passkey.StoreUnavailable)
				}
				if kind == "passkey" {
					refused(t, "Use on a future version", s.Use(t.Context(), "ada", passkey.Use{ID: p.ID, Ceremony: "x", SignCount: 9, At: now}), passkey.StoreUnavailable)
					renamed, _ := user.Renaming(p.ID, "x")
					refused(t, "Rename on a future version", s.Rename(t.Context(), renamed, p.ID, "x"), passkey.StoreUnavailable)
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

// A partition has no two records under one key. An answer that shows a record twice is no account, also where both say the same:
// of two user records or invitations the last one would count.
func TestRecordsTwice(t *testing.T) {
	s := newScene(t)
	must(t, s.direct.Invite(t.Context(), "bob", passkey.Invitation{ID: "one", Expires: now}))
	for _, user := range []string{"ada", "bob"} {
		lift := s.proxy.Inject(faulttest.Fault{Operation: "Query", Rewrite: faulttest.Rows(faulttest.Twice())})
		_, err := s.store.Account(t.Context(), user)
		refused(t, user+" twice", err, passkey.StoreUnavailable)
		lift()
		_, err = s.store.Account(t.Context(), user)
		must(t, err)
	}
}
