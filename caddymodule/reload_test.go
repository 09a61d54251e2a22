package caddymodule_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// Caddy cleans a configuration up while its requests still run. One that is parked at the upstream gets its answer.
func TestRequestAtUpstreamOutlivesReload(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	arrived, release := make(chan struct{}), make(chan struct{})
	g.upstream.answers(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		fmt.Fprint(w, "late")
	})
	answer := make(chan reply)
	go func() { answer <- alice.get("/slow") }()
	<-arrived
	if err := g.reload(options("", "store file $FOLDER/other.db"), site("", proxy)); err != nil {
		t.Fatal(err)
	}
	close(release)
	if got := <-answer; got.StatusCode != 200 || got.body != "late" {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// A request that comes to the gate of the old configuration after its store was closed is refused, without a panic.
func TestRequestBeforeGateFailsClosedAfterReload(t *testing.T) {
	g := newGateway(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g.upstream.answers(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Park") != "" && r.URL.Path == "/auth" {
			once.Do(func() { close(arrived) })
			<-release
		}
	})
	const firstFactor = "forward_auth $UPSTREAM {\nuri /auth\n}\n"
	load := func(store string) {
		t.Helper()
		if err := g.reload(options("", "revocation_lag 0\nstore file $FOLDER/"+store), site("", firstFactor+proxy)); err != nil {
			t.Fatal(err)
		}
	}
	load("a.db")
	alice := g.enrolled("alice")
	alice.want("/", 200, "")
	answers := make(chan reply)
	go func() { answers <- alice.get("/", with("X-Park", "1")) }()
	<-arrived
	load("b.db")
	db, err := boltstore.Open(filepath.Join(g.folder, "a.db"), boltstore.Options{})
	if err != nil {
		t.Fatalf("the old store is not closed: %v", err)
	}
	defer db.Close()
	g.upstream.take()
	close(release)
	answer := <-answers
	answer.want(t, 503, "store_unavailable")
	if answer.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g.reached(0)
}

// The store is opened once, whatever is changed around it: passkeys and grants live through reloads.
func TestStoreOutlivesReloads(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	for i := range 10 {
		name := fmt.Sprintf("rp_name \"Name %d\"\nrevocation_lag %ds", i, i)
		rules := fmt.Sprintf("protect /%d/* {\nmax_age %dm\n}", i, i+1)
		if err := g.reload(options("", name), site(rules, proxy)); err != nil {
			t.Fatal(err)
		}
		alice.want(fmt.Sprintf("/%d/x", i), 200, "")
	}
	alice.stepUp("/")
	g.reached(10)

	// Another file is another gateway; the first one's file is closed, kept, and good again afterwards.
	other := options("", "store file $FOLDER/sub/other.db")
	if err := g.reload(other, site("", proxy)); err != nil {
		t.Fatal(err)
	}
	alice.want("/", 401, "step_up_required/grant_unreadable")
	g.load(site("", proxy))
	alice.want("/", 200, "")
}

// Stopping and starting again ends nothing either: the key of the grants is kept beside the file.
func TestStoreOutlivesProcess(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	g.load(site("", proxy))
	alice.want("/", 200, "")
	alice.stepUp("/")
	alice.do("POST", "/.stepgate/passkeys/options", `{"name": "second"}`).want(t, 403, "authorization_needed")
}

// Requests never notice a reload, whichever app starts first.
func TestRequestsDuringReloads(t *testing.T) {
	g := start(t, "", proxy)
	alice := g.enrolled("alice")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				alice.want("/", 200, "")
			}
		}
	}()
	for i := range 20 {
		if err := g.reload(options("", fmt.Sprintf("max_passkeys %d", i+1)), site("", proxy)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-done
}
