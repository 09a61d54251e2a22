package passkey_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/passkey"
)

func TestRecovery(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	one, two := passkey.CodeDigest("AAAA-BBBB"), passkey.CodeDigest("CCCC-DDDD")
	if one == two || one != passkey.CodeDigest("aaaabbbb") || one != passkey.CodeDigest(" AAAA BBBB\n") {
		t.Error("digests of codes")
	}
	ada := passkey.User{Name: "ada", Version: 4}.WithRecovery(passkey.Recovery{Codes: []passkey.Digest{one, two}, MadeAt: at})
	if ada.Version != 5 || !ada.Recovery.MadeAt.Equal(at) || ada.Recovery.Valid() != nil {
		t.Errorf("%+v", ada)
	}
	if err := ada.Recovery.Check(passkey.CodeID("aaaa-bbbb")); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", passkey.CodeID(""), passkey.CodeID("EEEE"), passkey.CodeID("AAAA-BBBB") + "="} {
		if err := ada.Recovery.Check(id); !errors.Is(err, passkey.RecoveryCodeInvalid) {
			t.Errorf("%q: %v", id, err)
		}
	}
	spent, err := ada.Spending(passkey.CodeID("aaaabbbb"))
	if err != nil || spent.Version != 5 || len(spent.Recovery.Codes) != 1 || spent.Recovery.Codes[0] != two || len(ada.Recovery.Codes) != 2 {
		t.Errorf("%v, %+v, %+v", err, spent, ada)
	}
	if _, err := spent.Spending(passkey.CodeID("aaaabbbb")); !errors.Is(err, passkey.RecoveryCodeInvalid) {
		t.Error(err)
	}
	if none := ada.Reset(passkey.Epoch{7}); none.Version != 6 || none.Epoch != (passkey.Epoch{7}) || none.Recovery.Codes != nil || !none.Recovery.MadeAt.IsZero() {
		t.Errorf("%+v", none)
	}
	many := make([]passkey.Digest, passkey.RecoveryCodes+1)
	for i := range many {
		many[i] = passkey.CodeDigest(string(rune('A' + i)))
	}
	for name, bad := range map[string]passkey.Recovery{
		"too many": {Codes: many, MadeAt: at}, "without a date": {Codes: many[:1]},
		"twice the same": {Codes: []passkey.Digest{one, one}, MadeAt: at}, "nothing": {Codes: []passkey.Digest{{}}, MadeAt: at},
	} {
		if bad.Valid() == nil {
			t.Error(name)
		}
	}
}

func TestReachOfRecords(t *testing.T) {
	for name, test := range map[string]struct {
		p    passkey.Passkey
		want passkey.Level
	}{
		"bound":                    {passkey.Passkey{}, passkey.DeviceBound},
		"synced":                   {passkey.Passkey{BackupEligible: true}, passkey.Verified},
		"nobody knows":             {passkey.Passkey{BackupUnknown: true}, passkey.Verified},
		"trusted":                  {passkey.Passkey{Trusted: true}, passkey.Attested},
		"trusted and synced":       {passkey.Passkey{Trusted: true, BackupEligible: true}, passkey.Verified},
		"trusted and nobody knows": {passkey.Passkey{Trusted: true, BackupUnknown: true}, passkey.Verified},
		"recovered":                {passkey.Passkey{MaxLevel: passkey.Verified}, passkey.Verified},
		"recovered and trusted":    {passkey.Passkey{Trusted: true, MaxLevel: passkey.DeviceBound}, passkey.DeviceBound},
		"recovered and synced":     {passkey.Passkey{BackupEligible: true, MaxLevel: passkey.Attested}, passkey.Verified},
	} {
		if got := test.p.Reach(); got != test.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
