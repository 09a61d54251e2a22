package attacktest_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/dynamotest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Two gateways on the same tables, of which one is by its clock five minutes ahead of DynamoDB or behind: it closes, lets nothing
// through and makes nothing, and says why in its log. The other one does not notice. When the clock is right again, it opens.
func TestB7_ClockFiveMinutesOff(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFleet(t, 2)
	right, wrong := f.Gateways[0], f.Gateways[1]
	var off atomic.Int64             // of what DynamoDB says to the second, which is the same to it as a clock that is off the other way
	environment := wrong.Environment // with the key that both have
	wrong.Uses(f.Tables, dynamotest.Telling(t, f.Endpoint, func() time.Time { return time.Now().Add(time.Duration(off.Load())) }), "")
	wrong.Environment = environment
	f.Start(gatewaytest.HeaderConsole("revocation_lag 0s", "open /open"))

	alice := gatewaytest.NewClient(t, right, "alice")
	gatewaytest.Must(t, gatewaytest.Session(alice))
	there := alice.At(wrong)
	gatewaytest.Must(t, there.Get("/keys").Expect(200))
	for _, shift := range []time.Duration{5 * time.Minute, -5 * time.Minute} {
		begun, err := alice.Begin(map[string]any{"return_to": "/keys"})
		gatewaytest.Must(t, err)
		off.Store(int64(shift))
		f.Upstream().Take()
		gatewaytest.Must(t, there.Get("/keys").Unavailable())
		wrong.Audited("request_refused", "store_unavailable")
		for path, body := range map[string]any{
			"/.stepgate/challenge/options":   map[string]any{"return_to": "/keys"},
			"/.stepgate/challenge/verify":    begun,
			gatewaytest.Account + "/options": map[string]any{"name": "x"},
		} {
			answer := there.Post(path, body)
			gatewaytest.Must(t, answer.Unavailable())
		}
		f.Upstream().Untouched()
		gatewaytest.Must(t, there.Get("/open").Expect(200))
		word := "clock is behind"
		if shift < 0 {
			word = "clock is ahead of"
		}
		if !strings.Contains(wrong.Log.Text(), word) {
			t.Errorf("the log does not say that the %s", word)
		}

		gatewaytest.Must(t, alice.Get("/keys").Expect(200))
		answer := alice.Post("/.stepgate/challenge/verify", begun) // it was tried on the other one, so it is used up
		gatewaytest.Must(t, answer.Refused(409, "challenge_used"))
		gatewaytest.Must(t, gatewaytest.Recovered(alice))

		off.Store(0)
		gatewaytest.Must(t, there.Get("/keys").Expect(200))
		gatewaytest.Must(t, gatewaytest.Recovered(there))
	}
}
