package attacktest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

const (
	kills = 200 // of them all
	lanes = 4   // gateways, each killed and started again by turns
)

// seedVariable repeats a run of TestKill.
const seedVariable = "STEPGATE_KILL_SEED"

// A gateway with a file store is killed at random moments while people register and step up: while it starts, while it loads its
// configuration again, while it writes. It starts by itself, whatever was acknowledged is there and works, and no answer to a
// challenge that earned a grant earns another.
func TestKill(t *testing.T) {
	seed := rand.Uint64()
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		seed, err = strconv.ParseUint(given, 10, 64)
		gatewaytest.Must(t, err)
	}
	t.Logf("to repeat the moments of these kills: %s=%d", seedVariable, seed)
	for n := range lanes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			quiet := strings.Replace(gatewaytest.HeaderConsole("", ""), "\tdebug\n", "", 1)
			l := &lane{t: t, random: rand.New(rand.NewPCG(seed, uint64(n))), g: gatewaytest.Prepare(t)}
			l.g.Swift = true
			l.g.Configure(quiet)
			for range kills / lanes {
				l.round()
			}
			l.g.Run()
			for _, s := range l.everybody {
				l.has(s)
			}
			t.Logf("%d people registered; killed %v", len(l.everybody), l.moments)
		})
	}
}

// lane is one gateway and the people before it.
type lane struct {
	t         *testing.T
	random    *rand.Rand
	g         *gatewaytest.Gateway
	everybody []*survivor
	doubtful  []*survivor // who were at it when the gateway was killed
	moments   map[string]int
}

// survivor is a person, and what they were told.
type survivor struct {
	*gatewaytest.Client
	registered bool
	stepUps    []stepUp
}

type stepUp struct {
	body    map[string]any
	granted bool // the last one may have been, without the answer
}

// round is one life of the gateway, up to its death.
func (l *lane) round() {
	l.t.Helper()
	moments := []string{"starting", "reloading", "working", "writing", "writing"}
	moment := moments[l.random.IntN(len(moments))]
	if l.moments == nil {
		l.moments = map[string]int{}
	}
	l.moments[moment]++
	if moment == "starting" {
		l.g.Launch()
		l.sleep(1500 * time.Millisecond)
		l.g.Kill()
		return
	}
	l.g.Run()
	l.check()

	// Three people at a time do what they do until the gateway is gone.
	dead, writes := make(chan struct{}), make(chan struct{}, 1)
	var people sync.WaitGroup
	for range 3 {
		s := &survivor{Client: gatewaytest.NewClient(l.t, l.g, fmt.Sprintf("person-%d", len(l.everybody)))}
		l.everybody, l.doubtful = append(l.everybody, s), append(l.doubtful, s)
		people.Go(func() { s.live(dead, writes) })
	}
	switch moment {
	case "reloading":
		l.sleep(100 * time.Millisecond)
		people.Go(func() { l.reload() })
		l.sleep(300 * time.Millisecond)
	case "working":
		l.sleep(500 * time.Millisecond)
	case "writing":
		for range l.random.IntN(6) + 1 {
			select {
			case <-writes:
			case <-time.After(gatewaytest.Patience):
				l.t.Fatal("nobody writes anything")
			}
		}
		l.sleep(30 * time.Millisecond)
	}
	l.g.Kill()
	close(dead)
	people.Wait()
}

// sleep lets a random time pass: when the gateway dies is what these tests are about.
func (l *lane) sleep(most time.Duration) { time.Sleep(time.Duration(l.random.Int64N(int64(most)))) }

// live registers and steps up again and again. It ends with the gateway.
func (s *survivor) live(dead <-chan struct{}, writes chan<- struct{}) {
	write := func() {
		select {
		case writes <- struct{}{}:
		default:
		}
	}
	body, err := s.BeginRegistration(s.Key, "Key", nil)
	if err != nil {
		return
	}
	write()
	if _, err = s.Step(http.MethodPost, gatewaytest.Account, body, http.StatusCreated); err != nil {
		return
	}
	s.registered = true
	for range 8 { // no more than a person may start in a row
		select {
		case <-dead:
			return
		default:
		}
		body, err := s.Begin(map[string]any{"return_to": "/keys"})
		if err != nil {
			return
		}
		s.stepUps = append(s.stepUps, stepUp{body: body})
		write()
		answer, err := s.Finish(body)
		if err != nil {
			return
		}
		s.stepUps[len(s.stepUps)-1].granted = answer.Grants()
	}
}

// reload has the gateway load its configuration again, though it is the same.
func (l *lane) reload() {
	text, err := os.ReadFile(l.g.Folder + "/Caddyfile")
	gatewaytest.Must(l.t, err)
	r, err := http.NewRequest(http.MethodPost, fmt.Sprintf("http://localhost:%d/load", l.g.Admin), bytes.NewReader(text))
	gatewaytest.Must(l.t, err)
	r.Header.Set("Content-Type", "text/caddyfile")
	r.Header.Set("Cache-Control", "must-revalidate")
	if answer, err := http.DefaultClient.Do(r); err == nil { // it may be dead by now
		answer.Body.Close()
	}
}

// check holds that those who were at it lost nothing, and two others.
func (l *lane) check() {
	l.t.Helper()
	for _, s := range l.doubtful {
		l.survives(s)
	}
	l.doubtful = nil
	for range 2 {
		if len(l.everybody) > 0 {
			s := l.everybody[l.random.IntN(len(l.everybody))]
			l.survives(s)
		}
	}
}

// survives holds that a person has their passkey, that no answer of theirs works twice, and that they go on.
func (l *lane) survives(s *survivor) {
	l.t.Helper()
	s.HTTP.CloseIdleConnections()
	if !s.registered {
		ids, err := s.Passkeys()
		gatewaytest.Must(l.t, err)
		if len(ids) == 0 {
			if err := s.Register("Key"); err != nil {
				l.t.Errorf("%s registered when the gateway was killed, and can't do it again: %v", s.User, err)
				return
			}
		}
		s.registered = true
	}
	l.has(s)
	for i, done := range s.stepUps {
		again, err := s.Finish(done.body)
		gatewaytest.Must(l.t, err)
		if !done.granted && again.Grants() && i == len(s.stepUps)-1 { // it had not been consumed
			again, err = s.Finish(done.body)
			gatewaytest.Must(l.t, err)
		}
		if err := again.Refused(http.StatusConflict, "challenge_used"); err != nil {
			l.t.Errorf("%s: an answer once more: %v", s.User, err)
		}
	}
	s.stepUps = nil
	if err := gatewaytest.Recovered(s.Client); err != nil {
		l.t.Errorf("%s can't go on: %v", s.User, err)
	}
}

// has holds that a person has their one passkey.
func (l *lane) has(s *survivor) {
	l.t.Helper()
	if !s.registered {
		return
	}
	s.HTTP.CloseIdleConnections()
	ids, err := s.Passkeys()
	if err != nil || len(ids) != 1 || ids["Key"] == "" {
		l.t.Errorf("%s has the passkeys %v (%v), want one", s.User, ids, err)
	}
}
