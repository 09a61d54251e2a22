package gate_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/passkey"
)

// FuzzAPI: no body that nobody's passkey signed changes an account or earns a grant, whatever address it is sent to; every
// answer is one of those that are documented, and none says that something went wrong in the gateway.
func FuzzAPI(f *testing.F) {
	w := newWorld(f)
	alice, key := w.browser("alice"), authtest.New(authtest.Config{Seed: "api"})
	alice.register(key, "Key")
	id := passkey.ShortID(key.Credentials()[0].ID)
	addresses := []struct{ method, path string }{
		{http.MethodPost, "/challenge/options"}, {http.MethodPost, "/challenge/verify"}, {http.MethodPost, "/passkeys/options"}, {http.MethodPost, "/passkeys"},
		{http.MethodPost, "/passkeys/authorize/options"}, {http.MethodDelete, "/passkeys/" + id}, {http.MethodPost, "/recovery-codes"}, {http.MethodPatch, "/passkeys/unknown"},
	}
	options := want(f, alice.post("/.stepgate/challenge/options", object{"return_to": "/admin"}), http.StatusOK)
	signed, err := key.Authenticate(options, console) // of a challenge that no other process has
	if err != nil {
		f.Fatal(err)
	}
	created, err := authtest.New(authtest.Config{Seed: "other"}).Register(challengeFor(f, w), console)
	if err != nil {
		f.Fatal(err)
	}
	for i := range addresses {
		for _, body := range []string{
			`{}`, `[]`, `null`, ``, `{"return_to":"/admin"}`, `{"return_to":"//evil"}`, `{"demand":"x","return_to":"/"}`, `{"return_to":"/","Return_To":"/x"}`, `{"name":"x","name":"y"}`, `{"name":"\u202e"}`,
			`{"action":"add"}`, `{"action":"remove","id":"` + id + `"}`, `{"action":"step_up"}`, `{"action":"recovery_codes"}`, `{"invitation":"AAAA","recovery_code":"BBBB"}`, `{"recovery_code":"AAAA-BBBB-CCCC"}`,
			`{"credential":` + string(signed) + `,"return_to":"/admin"}`, `{"authorization":` + string(signed) + `}`, `{"credential":` + string(created) + `,"name":"x","suggested":true}`, `{"last":true,"authorization":{}}`,
			`{"credential":null}`, `{"credential":"x"}`, `{"name":1}`, "\ufeff{}", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, "{\"name\":\"\xff\"}", `{"name":"` + strings.Repeat("x", 70<<10) + `"}`,
		} {
			f.Add(uint(i), body)
		}
	}
	w.clock.Advance(time.Hour) // and by now nobody has
	before, err := w.store.Account(f.Context(), "alice")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address uint, body string) {
		w.t = t
		w.clock.Advance(time.Minute) // fills the buckets
		to := addresses[address%uint(len(addresses))]
		response := alice.do(to.method, "/.stepgate"+to.path, strings.NewReader(body), header("Content-Type", "application/json"), from("192.0.2.1"))
		answer := wantBody(t, response)
		if response.StatusCode >= 500 {
			t.Fatalf("%s %s %q: %d %s", to.method, to.path, body, response.StatusCode, answer)
		}
		var problem struct{ Code passkey.Refusal }
		if response.StatusCode >= 400 && (json.Unmarshal(answer, &problem) != nil || problem.Code == "") {
			t.Fatalf("%s %s %q: %d %s", to.method, to.path, body, response.StatusCode, answer)
		}
		for _, c := range response.Cookies() {
			if c.Name == "__Host-stepgate" && c.Value != "" {
				t.Fatalf("%s %s %q earns a grant", to.method, to.path, body)
			}
		}
		after, err := w.store.Account(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("%s %s %q changes the account:\n%s", to.method, to.path, body, diff)
		}
	})
}

// challengeFor returns the options of a first registration, of another user's.
func challengeFor(f *testing.F, w *world) []byte {
	f.Helper()
	return want(f, w.browser("bob").post("/.stepgate/passkeys/options", object{"name": "x"}), http.StatusOK)
}
