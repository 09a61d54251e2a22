package e2etest_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Many people at once: everybody gets through, and nobody into another's account.
func TestCeremoniesUnderLoad(t *testing.T) {
	t.Parallel()
	const users = 50
	g := start(t, headerConsole("", ""))
	var wait sync.WaitGroup
	failures := make(chan error, users)
	began := time.Now()
	for i := range users {
		c := newClient(t, g, fmt.Sprintf("user-%d", i))
		wait.Go(func() { failures <- session(c) })
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
	for _, r := range g.upstream.take() {
		seen[r.Header.Get("X-Stepgate-User")]++
		if want := r.Header.Get("X-User"); r.Header.Get("X-Stepgate-User") != want {
			t.Errorf("%s got through as %s", want, r.Header.Get("X-Stepgate-User"))
		}
	}
	if len(seen) != users {
		t.Errorf("%d users reached the upstream, want %d", len(seen), users)
	}
}

// session registers, steps up, and opens a protected path.
func session(c *client) error {
	if err := c.register("Key"); err != nil {
		return fmt.Errorf("%s: %w", c.user, err)
	}
	answer, err := c.stepUp("/keys")
	if err == nil {
		err = answer.expect(200)
	}
	if err == nil {
		_, err = c.step("GET", "/keys", nil, 200)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.user, err)
	}
	return nil
}
