package transfer_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/transfer"
)

func TestMeter(t *testing.T) {
	for _, test := range []struct {
		live bool
		want string
	}{
		{true, "\rexported 3 users, 1 passkey\rexported 6 users, 1 passkey\rexported 1 user, 1 passkey \r                          \r"},
		{false, "exported 1 user, 1 passkey\n"},
	} {
		var out bytes.Buffer
		at := now
		m := transfer.Meter{Out: &out, Verb: "exported", Live: test.live, Now: func() time.Time { return at }}
		for i := range 7 {
			m.Show(transfer.Counts{Users: i, Passkeys: 1})
			at = at.Add(400 * time.Millisecond)
		}
		at = now.Add(5 * time.Second)
		m.Show(transfer.Counts{Users: 1, Passkeys: 1})
		m.End()
		if out.String() != test.want {
			t.Errorf("live %t: got  %q\nwant %q", test.live, out.String(), test.want)
		}
	}
}
