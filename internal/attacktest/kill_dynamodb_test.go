package attacktest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// A gateway on DynamoDB is killed in the middle of each call that a registration and a step-up make: when it was not applied yet,
// when it was and nobody has the answer, and when it arrives after everything else. Another one takes its place. Nobody is locked
// out, nothing is there twice, and no challenge works twice.
func TestKillDuringCall(t *testing.T) {
	t.Parallel()
	f := gatewaytest.NewFaulty(t, "revocation_lag 0s")
	l := &lane{t: t, g: f.Gateway}
	for _, at := range []struct {
		step       string
		operations []string
	}{
		{"starting a registration", []string{"PutItem"}},
		{"finishing a registration", []string{"DeleteItem", "TransactWriteItems"}},
		{"starting a step-up", []string{"PutItem"}},
		{"finishing a step-up", []string{"DeleteItem", "UpdateItem"}}, // the latter is between consume and use
	} {
		for _, operation := range at.operations {
			for _, c := range []struct {
				name string
				kind faulttest.Kind
				late bool // let go only when the other gateway has gone on
			}{{"before it is applied", faulttest.Hang, false}, {"after it", faulttest.HoldAfter, false}, {"and it comes late", faulttest.Hold, true}} {
				name := fmt.Sprintf("%s, %s, %s", at.step, operation, c.name)
				s := &survivor{Client: gatewaytest.NewClient(t, f.Gateway, fmt.Sprintf("person-%d", len(l.everybody)))}
				l.everybody = append(l.everybody, s)
				send, err := s.upTo(at.step)
				gatewaytest.Must(t, err)

				var killed atomic.Bool
				needle := fmt.Appendf(nil, "#%d:%s\"", len(s.User), s.User)
				lift := f.Proxy.Inject(faulttest.Fault{Operation: operation, Kind: c.kind, Match: func(request []byte) bool {
					return !killed.Load() && bytes.Contains(request, needle)
				}})
				answered := make(chan gatewaytest.Reply, 1)
				go func() {
					answer, _ := send()
					answered <- answer
				}()
				f.Proxy.Await(1)
				f.Kill()
				killed.Store(true)
				if answer := <-answered; answer.Status != 0 {
					t.Errorf("%s: answered all the same: %d %s", name, answer.Status, answer.Body)
				}
				if !c.late {
					lift()
					f.Proxy.Settle()
				}
				f.Run()
				l.survives(s)
				if c.late {
					lift()
					f.Proxy.Settle()
					l.survives(s)
				}
				if t.Failed() {
					t.Fatalf("%s: see above", name)
				}
			}
		}
	}
	for _, s := range l.everybody {
		l.has(s)
	}
}

// upTo does everything before a step, and returns what sends that.
func (s *survivor) upTo(step string) (send func() (gatewaytest.Reply, error), err error) {
	post := func(path string, body map[string]any) func() (gatewaytest.Reply, error) {
		return func() (gatewaytest.Reply, error) { return s.Send(http.MethodPost, path, body) }
	}
	switch step {
	case "starting a registration":
		return post(gatewaytest.Account+"/options", map[string]any{"name": "Key"}), nil
	case "finishing a registration":
		body, err := s.BeginRegistration(s.Key, "Key", nil)
		return post(gatewaytest.Account, body), err
	}
	if err := s.Register("Key"); err != nil {
		return nil, err
	}
	s.registered = true
	if step == "starting a step-up" {
		return post("/.stepgate/challenge/options", map[string]any{"return_to": "/keys"}), nil
	}
	body, err := s.Begin(map[string]any{"return_to": "/keys"})
	s.stepUps = append(s.stepUps, stepUp{body: body})
	return func() (gatewaytest.Reply, error) { return s.Finish(body) }, err
}
