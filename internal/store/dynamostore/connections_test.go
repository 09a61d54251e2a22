package dynamostore_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// A store that is closed keeps no connection: a gateway whose configuration is loaded again and again must not collect those of
// all its earlier stores.
func TestCloseLeavesNoConnections(t *testing.T) {
	var mu sync.Mutex
	states := map[net.Conn]http.ConnState{}
	open := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, state := range states {
			if state != http.StateClosed {
				n++
			}
		}
		return n
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"Items":[],"Count":0,"ScannedCount":0}`))
	}))
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		states[c] = state
	}
	server.Start()
	t.Cleanup(server.Close)
	db, err := dynamostore.Open(t.Context(), dynamostore.Options{Endpoint: server.URL})
	must(t, err)
	for tries := 0; open() == 0; tries++ { // now and then one isn't kept
		if tries == 100 {
			t.Fatal("no connection is kept")
		}
		_, err = db.For(rpID).Account(t.Context(), "ada")
		must(t, err)
	}
	must(t, db.Close())
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); open() > 0; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open still", open())
		}
	}
}
