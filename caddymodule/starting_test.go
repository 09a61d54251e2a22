package caddymodule_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/stepgate/stepgate/caddymodule"
)

func init() { caddy.RegisterModule(slowStore{}) }

// slowStore is a store that takes its time to open, and may fail.
type slowStore struct{ countingStore }

var (
	opening = make(chan struct{})
	opened  = make(chan error)
)

func (slowStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "stepgate.stores.slow", New: func() caddy.Module { return new(slowStore) }}
}

func (s *slowStore) Open(rpID string, logger *zap.Logger) (*caddymodule.OpenStore, error) {
	opening <- struct{}{}
	if err := <-opened; err != nil {
		return nil, err
	}
	return s.countingStore.Open(rpID, logger)
}

// Apps start in no particular order, so requests may come while the store is still opening: those to open routes pass,
// others wait for it, and are refused when it fails.
func TestRequestsBeforeStart(t *testing.T) {
	for name, outcome := range map[string]error{"the store opens": nil, "the store fails": errors.New("made up")} {
		t.Run(name, func(t *testing.T) {
			for range 100 { // until Caddy happens to start the http app first
				if requestsBeforeStart(t, outcome) {
					return
				}
			}
			t.Error("the http app never started first")
		})
	}
}

func requestsBeforeStart(t *testing.T, outcome error) (httpFirst bool) {
	g := newGateway(t)
	config, _, err := adapt(g.fill(options("", "") + site("open /open", "forward_auth $UPSTREAM {\nuri /auth\n}\nrespond ok")))
	if err != nil {
		t.Fatal(err)
	}
	tree := parsed(t, config).(map[string]any)
	tree["apps"].(map[string]any)["stepgate"].(map[string]any)["store"] = map[string]any{"module": "slow", "path": filepath.Join(g.folder, "slow.db")}
	loaded := make(chan error)
	go func() { loaded <- g.loadJSON(encoded(t, tree)) }()
	<-opening
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", g.port))
	if err != nil {
		opened <- outcome
		<-loaded
		return false
	}
	_ = conn.Close()

	alice := g.browser("alice")
	alice.want("/open", 200, "")
	underWay := make(chan struct{}) // the first factor was asked: the gate is next
	g.upstream.answers(func(http.ResponseWriter, *http.Request) { underWay <- struct{}{} })
	answers := make(chan reply)
	go func() { answers <- alice.get("/protected") }()
	<-underWay
	opened <- outcome
	answer := <-answers
	if err := <-loaded; (err == nil) != (outcome == nil) {
		t.Errorf("loading: %v", err)
	}
	if outcome == nil {
		answer.want(t, 401, "step_up_required/grant_missing")
	} else {
		answer.want(t, 503, "store_unavailable")
	}
	return true
}
