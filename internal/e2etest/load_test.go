package e2etest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Many people at once: everybody gets through, and nobody into another's account.
func TestCeremoniesUnderLoad(t *testing.T) {
	t.Parallel()
	const users = 50
	g := gatewaytest.Start(t, gatewaytest.HeaderConsole("", ""))
	var wait sync.WaitGroup
	failures := make(chan error, users)
	began := time.Now()
	for i := range users {
		c := gatewaytest.NewClient(t, g, fmt.Sprintf("user-%d", i))
		wait.Go(func() { failures <- gatewaytest.Session(c) })
	}
	wait.Wait()
	took := time.Since(began)
	close(failures)
	for err := range failures {
		if err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d users, %d ceremonies in %v: %.0f a second", users, 2*users, took.Round(time.Millisecond), 2*users/took.Seconds())
	seen := map[string]int{}
	for _, r := range g.Upstream.Take() {
		seen[r.Header.Get("X-Stepgate-User")]++
		if want := r.Header.Get("X-User"); r.Header.Get("X-Stepgate-User") != want {
			t.Errorf("%s got through as %s", want, r.Header.Get("X-Stepgate-User"))
		}
	}
	if len(seen) != users {
		t.Errorf("%d users reached the upstream, want %d", len(seen), users)
	}
}
