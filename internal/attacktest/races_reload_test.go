package attacktest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// The configuration is replaced over and over (another one, the same one by force, one that is refused, another key) in the
// middle of everything: whoever has a grant passes, whoever has none does not, every ceremony that was begun is finished, and
// nobody sees a failure.
func TestReloadAgainstEverything(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		g := on.Prepare(t)
		first, second := gatewaytest.NewKey(g), gatewaytest.NewKey(g)
		for _, key := range []string{first, second} {
			g.Log.Secret("grant key", key)
		}
		keys := func(keys ...string) {
			gatewaytest.Must(t, os.WriteFile(filepath.Join(g.Folder, "grant.keys"), []byte(strings.Join(keys, "\n")+"\n"), 0o600))
		}
		keys(first, second)
		console := func(block string) string {
			app := ""
			if on == gatewaytest.OnFile {
				app = "\ngrant_keys {file.$DIR/grant.keys}"
			}
			// What takes longer than the grace period is cut off, on any slow machine.
			return strings.Replace(networked(app, block), "grace_period 1s", "grace_period 30s", 1)
		}
		if on == gatewaytest.OnDynamoDB {
			g.Store = strings.Replace(g.Store, "{env.STEPGATE_GRANT_KEYS}", "{file.$DIR/grant.keys}", 1)
		}
		g.Configure(console(""))
		g.Run()

		var (
			stop     atomic.Bool
			workers  sync.WaitGroup
			sessions atomic.Int64
		)
		begun := make(chan struct{}, 100)
		for i := range 4 {
			workers.Go(func() {
				for n := 0; !stop.Load() && !t.Failed(); n++ {
					c := gatewaytest.NewClient(t, g, fmt.Sprintf("worker %d, %d", i, n))
					// A connection of its own for each request: one that waits for the next is closed with the configuration it belongs to.
					c.HTTP.Transport.(*http.Transport).DisableKeepAlives = true
					c.HTTP.Transport = fromNetwork{knocking{c.HTTP.Transport}, fmt.Sprintf("198.51.%d.%d", i, n%256)}
					if err := life(c); err != nil && !(on == gatewaytest.OnDynamoDB && strings.Contains(err.Error(), outOfTime)) {
						t.Errorf("%s: %v", c.User, err)
					}
					sessions.Add(1)
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		go func() {
			workers.Wait() // all of them stop at a failure
			close(begun)
		}()
		other := console("max_age 10m")
		for round := range 2 {
			for _, reload := range []struct {
				name  string
				do    func() error
				fails bool
			}{
				{"another one", func() error { return g.Reload(other) }, false},
				{"the same one, by force", func() error { return g.Reload(other, "--force") }, false},
				{"one that is refused", func() error { return g.Reload(console("pretect /keys/*")) }, true},
				{"one that does not start", func() error {
					return g.Reload(console("") + fmt.Sprintf("http://localhost:%s {\n respond no\n}\n", strings.Split(g.Upstream.Address, ":")[1]))
				}, true},
				{"another key seals", func() error {
					keys(second, first)
					return g.Reload(other, "--force")
				}, false},
				{"and the first again", func() error {
					keys(first, second)
					return g.Reload(console(fmt.Sprintf("max_age %dm", 5+round)))
				}, false},
			} {
				<-begun // somebody is at it
				if err := reload.do(); (err != nil) != reload.fails {
					t.Errorf("%s: %v", reload.name, err)
				}
			}
		}
		stop.Store(true)
		workers.Wait()
		g.Configure(console(""))
		t.Logf("%d lives during 12 reloads", sessions.Load())
		// On a slow machine DynamoDB Local may take longer than a request, or one call of it, has. Nothing else may fail, least of
		// all because a configuration has gone.
		for line := range strings.SplitSeq(g.Log.Text(), "\n") {
			failed := strings.Contains(line, `"level":"error"`) && strings.Contains(line, `"logger":"http.handlers.stepgate"`)
			slow := on == gatewaytest.OnDynamoDB && strings.Contains(line, outOfTime) && !strings.Contains(line, "unloaded") && !strings.Contains(line, "is closed")
			if failed && !slow {
				t.Errorf("a failure: %.600s", line)
			}
		}
	})
}

// knocking comes again where a connection is reset or closed without an answer. The kernel does that to those that wait at a
// listener when Caddy closes it, and Caddy to those that it has accepted and not read (its listeners share their port). Were
// a request ever lost after it was read, the same one could not succeed: nearly all of them work once.
type knocking struct{ http.RoundTripper }

func (k knocking) RoundTrip(r *http.Request) (*http.Response, error) {
	for range 5 {
		answer, err := k.RoundTripper.RoundTrip(r)
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			return answer, err
		}
		again := r.Clone(r.Context())
		if r.GetBody != nil {
			if again.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		r = again
	}
	return k.RoundTripper.RoundTrip(r)
}

// life is all that somebody does with a gateway, once.
func life(c *gatewaytest.Client) error {
	closed := func(reason string) error {
		answer, err := c.Send("GET", "/keys", nil)
		if err != nil {
			return err
		}
		return answer.Refused(401, reason)
	}
	if err := closed("grant_missing"); err != nil {
		return err
	}
	if err := gatewaytest.Session(c); err != nil {
		return err
	}
	authorization, err := c.Authorize("add", "")
	if err != nil {
		return err
	}
	body, err := c.BeginRegistration(authtest.New(authtest.Config{}), "Second", authorization)
	if err != nil {
		return err
	}
	if _, err := c.Step("POST", gatewaytest.Account, body, 201); err != nil {
		return err
	}
	ids, err := c.Passkeys()
	if err != nil {
		return err
	}
	if authorization, err = c.Authorize("remove", ids["Second"]); err != nil {
		return err
	}
	if _, err := c.Step("DELETE", gatewaytest.Account+"/"+ids["Second"], map[string]any{"authorization": authorization}, 204); err != nil {
		return err
	}
	if _, err := c.Step("GET", "/keys", nil, 200); err != nil {
		return err
	}
	if _, err := c.Step("POST", "/.stepgate/logout", map[string]any{}, 204); err != nil {
		return err
	}
	return closed("grant_missing")
}
