package gate_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
)

// A registration that a page begins for a request tells the browser which kind of authenticator would do. What the page
// says of the level counts for nothing, and what it says of the request decides nothing but that.
func TestHintsFollowTheLevel(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		body  object
		hints []string
	}{
		"for a device-bound route":  {object{"return_to": "/hardware"}, []string{"security-key", "client-device"}},
		"for another route":         {object{"return_to": "/admin"}, nil},
		"of the account page":       {object{}, nil},
		"a level that a page makes": {object{"level": "attested"}, nil},
		"a demand that nobody made": {object{"demand": "AAAA"}, nil},
	} {
		var options struct {
			PublicKey struct {
				Hints                  []string
				AuthenticatorSelection map[string]any
			}
		}
		test.body["name"] = "x"
		text := want(t, w.browser("alice").post("/.stepgate/passkeys/options", test.body), http.StatusOK)
		if err := json.Unmarshal(text, &options); err != nil || !slices.Equal(options.PublicKey.Hints, test.hints) {
			t.Errorf("%s: hints %q, %v", name, options.PublicKey.Hints, err)
		}
		if options.PublicKey.AuthenticatorSelection["authenticatorAttachment"] != nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}
