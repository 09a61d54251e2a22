package attacktest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// starts is how many challenges a flood asks for.
const starts = 100_000

// H1: somebody with a stolen sign-in starts ceremonies in alice's name, each in a new browser, from her own address. The rest
// of the gateway does not notice, and neither does she, where she has confirmed before: nor does the store fill up.
func TestH1_StartsInOnesName(t *testing.T) {
	for _, on := range []gatewaytest.Store{gatewaytest.OnFile, gatewaytest.OnDynamoDB} {
		t.Run(string(on), func(t *testing.T) {
			f := flood(t, on)
			f.watch()
			one := f.request("/.stepgate/challenge/options", "alice", `{"return_to":"/keys"}`)
			counts := f.pour(starts, func(int) []byte { return one }, func() { f.served("during the flood", f.alice, f.bob) })
			t.Logf("answers %v", counts)
			// 30 at once for one network and user, and one in two seconds.
			if begun := counts[200]; begun < 30 || begun > 300 || begun+counts[429] != starts {
				t.Errorf("answers %v", counts)
			}
			f.served("after the flood", f.alice, f.bob)
			if refused := f.lines("rate_limited"); refused != counts[429] {
				t.Errorf("%d refusals are audited, want %d", refused, counts[429])
			}
			f.over(1024*mib, 32*mib)
			f.fits(counts[200] + 20)
		})
	}
}

// H1: the same for as many made-up users, each from another address, which is what a botnet behind a weak sign-in could do.
// Whoever has no passkey has no use for a challenge, so none is stored, and what is remembered of them is bounded.
func TestH1_StartsInManyNames(t *testing.T) {
	f := flood(t, gatewaytest.OnFile)
	f.watch()
	counts := f.pour(starts, func(i int) []byte {
		return f.request("/.stepgate/challenge/options", fmt.Sprintf("user-%d", i), `{"return_to":"/keys"}`,
			"X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
	}, func() { f.served("during the flood", f.alice, f.bob) })
	t.Logf("answers %v", counts)
	if counts[409] != starts { // no_passkey
		t.Errorf("answers %v", counts)
	}
	f.served("after the flood", f.alice, f.bob)
	if refused := f.lines("no_passkey"); refused != starts {
		t.Errorf("%d refusals are audited, want %d", refused, starts)
	}
	f.over(1024*mib, 160*mib)
	f.fits(20)
}

// H1: from one address, for as many users, to register: those are stored, so the address is what is limited.
func TestH1_RegistrationsFromOneAddress(t *testing.T) {
	const n = 20_000
	f := flood(t, gatewaytest.OnFile)
	f.watch()
	counts := f.pour(n, func(i int) []byte {
		return f.request("/.stepgate/passkeys/options", fmt.Sprintf("user-%d", i), `{"name":"x"}`)
	}, func() { f.served("during the flood", f.alice, f.bob) })
	t.Logf("answers %v", counts)
	if begun := counts[200]; begun < 300-10 || begun > 3000 || begun+counts[429] != n { // ten a second come back
		t.Errorf("answers %v", counts)
	}
	f.served("after the flood", f.alice, f.bob)
	f.over(1024*mib, 32*mib)
	f.fits(counts[200] + 20)
}

// H3: somebody with a stolen sign-in finishes in alice's name what nobody started, each time in a new browser. Few of them
// reach the store, and she steps up where she has confirmed before.
func TestH3_FinishesInOnesName(t *testing.T) {
	const n = 5000
	for _, on := range []gatewaytest.Store{gatewaytest.OnFile, gatewaytest.OnDynamoDB} {
		t.Run(string(on), func(t *testing.T) {
			f := flood(t, on)
			used, err := f.alice.Begin(map[string]any{"return_to": "/keys"})
			gatewaytest.Must(t, err)
			answer, err := f.alice.Finish(used)
			gatewaytest.Must(t, err)
			gatewaytest.Must(t, answer.Expect(200))
			body, err := json.Marshal(used)
			gatewaytest.Must(t, err)
			counts := f.pour(n, func(i int) []byte { // from 100 networks
				return f.request("/.stepgate/challenge/verify", "alice", string(body), "X-Forwarded-For", fmt.Sprintf("10.1.0.%d", i%100))
			}, func() { f.served("during the flood", f.alice, f.bob) })
			t.Logf("answers %v", counts)
			// 300 at once for one user, and five a second. Of what DynamoDB answers late nobody knows: that is a 503, and counts.
			unknown := 0
			if f.tables != nil {
				unknown = counts[503]
			}
			if asked := counts[409] + unknown; counts[409] == 0 || asked < 300 || asked > 1500 || asked+counts[429] != n {
				t.Errorf("answers %v", counts)
			}
			f.served("after the flood", f.alice, f.bob)
			if used, refused := f.lines("challenge_used"), f.lines("rate_limited"); used != counts[409] || refused != counts[429] {
				t.Errorf("%d and %d refusals are audited, want %d and %d", used, refused, counts[409], counts[429])
			}
		})
	}
}

// fits holds that no more than so many challenges are stored.
func (f *flooded) fits(most int) {
	f.t.Helper()
	if f.tables != nil {
		var scanned struct{ Count int }
		gatewaytest.Must(f.t, json.Unmarshal(f.tables.Call("Scan", map[string]any{"TableName": f.tables.Challenges, "Select": "COUNT"}), &scanned))
		if scanned.Count > most {
			f.t.Errorf("%d challenges are stored, want %d at the most", scanned.Count, most)
		}
		return
	}
	// A challenge takes less than 1 KiB; a file grows by pages, and keeps those that are free.
	info, err := os.Stat(f.Folder + "/stepgate.db")
	gatewaytest.Must(f.t, err)
	if size := int(info.Size()); size > 4*mib+most*4096 {
		f.t.Errorf("the file has %d KiB for %d challenges", size>>10, most)
	}
}
