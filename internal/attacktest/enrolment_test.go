package attacktest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// withCodes is somebody with a passkey and their recovery codes.
func (s *scene) withCodes(name string) (*client, []string) {
	s.Helper()
	c := s.visitor(name)
	body, err := c.BeginRegistration(c.Key, "Key", nil)
	gatewaytest.Must(s, err)
	answer := s.sent(c, "POST", gatewaytest.Account, body)
	gatewaytest.Must(s, answer.Expect(201))
	var got struct {
		Codes []string `json:"recovery_codes"`
	}
	gatewaytest.Must(s, json.Unmarshal(answer.Body, &got))
	if len(got.Codes) == 0 {
		s.Fatalf("no recovery codes in %s", answer.Body)
	}
	for _, code := range got.Codes {
		s.g.Log.Secret("recovery code", code)
	}
	return c, got.Codes
}

// invited is an invitation's code, made by an administrator.
func (s *scene) invited(user string) string {
	s.Helper()
	out, err := s.g.Command("invite", "--json", user).Output()
	gatewaytest.Must(s, err)
	var got struct{ Code string }
	gatewaytest.Must(s, json.Unmarshal(out, &got))
	s.g.Log.Secret("invitation", got.Code)
	return got.Code
}

func (s *scene) starts(c *client, wish map[string]any) reply {
	s.Helper()
	wish["name"] = fmt.Sprint("New ", len(wish), rand.IntN(1e6))
	return s.sent(c, "POST", gatewaytest.Account+"/options", wish)
}

// Adding, taking away and renaming passkeys without the right to.
func TestEnrolment(t *testing.T) {
	refusedName := func(name, passkey string) attack {
		return attack{name: "F12 a name: " + name, code: "name_invalid", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			return c, s.sent(c, "PATCH", s.passkey(c, "Key"), map[string]any{"name": passkey})
		}}
	}
	idor := func(name, method, code string, change func(id string) string) attack {
		return attack{name: "F8 " + name, code: code, do: func(s *scene) (*client, reply) {
			a, b := s.insider("alice"), s.holder("bob")
			id := strings.TrimPrefix(s.passkey(b, "Key"), gatewaytest.Account+"/")
			body := map[string]any{"name": "Mine"}
			if method == "DELETE" {
				authorization, err := a.Authorize("remove", strings.TrimPrefix(s.passkey(a, "Key"), gatewaytest.Account+"/"))
				gatewaytest.Must(s, err)
				body = map[string]any{"authorization": authorization, "last": true}
			}
			answer := s.sent(a, method, gatewaytest.Account+"/"+change(id), body)
			s.passkey(b, "Key")
			s.passkey(a, "Key")
			return a, answer
		}}
	}
	same := func(id string) string { return id }
	group{name: "enrolment", control: func(s *scene) {
		addingAndRemovingWork(s)
		c, codes := s.withCodes("dave")
		c.Key = authtest.New(authtest.Config{Counts: true})
		gatewaytest.Must(s, registerBy(s, s.sibling(c), c.Key, map[string]any{"recovery_code": codes[0]}).Expect(201))
		s.stepsUp(c, "/keys")
		c.Key = authtest.New(authtest.Config{Counts: true})
		gatewaytest.Must(s, registerBy(s, s.sibling(c), c.Key, map[string]any{"invitation": s.invited(c.User)}).Expect(201))
		s.stepsUp(c, "/keys")
	}, attacks: []attack{
		{name: "F2 another passkey with a grant and nothing else", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			return c, s.starts(c, map[string]any{})
		}},
		{name: "F2 another passkey with a stolen sign-in", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			return nil, s.starts(s.sibling(s.insider("alice")), map[string]any{})
		}},
		{name: "F3 a first passkey again, after the only one was removed", code: "registration_closed", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			s.removes(c, "Key")
			return c, s.starts(c, map[string]any{})
		}},
		{name: "F4 two first passkeys, begun at the same time", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c := s.visitor("alice")
			thief := s.sibling(c)
			thief.Key = authtest.New(authtest.Config{})
			early, err := thief.BeginRegistration(thief.Key, "Mine", nil)
			gatewaytest.Must(s, err)
			gatewaytest.Must(s, c.Register("Key"))
			return c, s.sent(thief, "POST", gatewaytest.Account, early)
		}},
		{name: "F5 another passkey, authorised by one that was removed meanwhile", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c, second := s.twoKeys("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			body, err := c.BeginRegistration(authtest.New(authtest.Config{}), "New", authorization)
			gatewaytest.Must(s, err)
			s.removes(second, "Key")
			return c, s.sent(c, "POST", gatewaytest.Account, body)
		}},
		{name: "F10 removing with a grant and nothing else", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			return c, s.sent(c, "DELETE", s.passkey(c, "Key"), map[string]any{"last": true})
		}},
		{name: "F10 removing the only one without saying so", code: "last_passkey", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			path := s.passkey(c, "Key")
			authorization, err := c.Authorize("remove", strings.TrimPrefix(path, gatewaytest.Account+"/"))
			gatewaytest.Must(s, err)
			return c, s.sent(c, "DELETE", path, map[string]any{"authorization": authorization})
		}},
		{name: "F10 a synced passkey adds beside one bound to a device", code: "level_unreachable", do: func(s *scene) (*client, reply) {
			phone := s.phoneBeside("alice")
			authorization, err := phone.Authorize("add", "", authtest.Obstinate())
			gatewaytest.Must(s, err)
			return phone, s.starts(phone, map[string]any{"authorization": authorization})
		}},
		{name: "F10 a synced passkey removes one bound to a device", code: "level_unreachable", do: func(s *scene) (*client, reply) {
			phone := s.phoneBeside("alice")
			path := s.passkey(phone, "Key")
			authorization, err := phone.Authorize("remove", strings.TrimPrefix(path, gatewaytest.Account+"/"), authtest.Obstinate())
			gatewaytest.Must(s, err)
			return phone, s.sent(phone, "DELETE", path, map[string]any{"authorization": authorization})
		}},
		{name: "A39 a credential of somebody else's", code: "passkey_exists", do: func(s *scene) (*client, reply) {
			b, a := s.holder("bob"), s.visitor("alice")
			body, err := a.BeginRegistration(a.Key, "Key", nil, authtest.CredentialID(b.Key.Credentials()[0].ID))
			gatewaytest.Must(s, err)
			answer := s.sent(a, "POST", gatewaytest.Account, body)
			s.stepsUp(b, "/keys") // theirs works as before
			return a, answer
		}},
		{name: "A39 a credential of one's own again", code: "passkey_exists", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			authorization, err := c.Authorize("add", "")
			gatewaytest.Must(s, err)
			body, err := c.BeginRegistration(authtest.New(authtest.Config{}), "Copy", authorization, authtest.CredentialID(c.Key.Credentials()[0].ID), authtest.Obstinate())
			gatewaytest.Must(s, err)
			answer := s.sent(c, "POST", gatewaytest.Account, body)
			s.stepsUp(c, "/keys")
			return c, answer
		}},
		idor("renaming somebody else's passkey", "PATCH", "passkey_unknown", same),
		idor("removing somebody else's passkey", "DELETE", "ceremony_mismatch", same),
		idor("renaming somebody else's passkey, its id padded", "PATCH", "passkey_unknown", func(id string) string { return id + "=" }),
		idor("renaming somebody else's passkey, its id encoded", "PATCH", "passkey_unknown", func(id string) string { return "%" + "4" + string("0123456789ABCDEF"[id[0]&15]) + id[1:] }),
		{name: "F8 an authorization to remove somebody else's passkey", code: "passkey_unknown", do: func(s *scene) (*client, reply) {
			a, b := s.insider("alice"), s.holder("bob")
			id := strings.TrimPrefix(s.passkey(b, "Key"), gatewaytest.Account+"/")
			return a, s.sent(a, "POST", gatewaytest.Account+"/authorize/options", map[string]any{"action": "remove", "id": id})
		}},
		{name: "F3 a recovery code that is a guess", code: "recovery_code_invalid", do: func(s *scene) (*client, reply) {
			c, codes := s.withCodes("alice")
			guess := []byte(codes[0])
			if guess[0] == 'A' {
				guess[0] = 'B'
			} else {
				guess[0] = 'A'
			}
			return c, s.starts(s.sibling(c), map[string]any{"recovery_code": string(guess)})
		}},
		{name: "F3 a recovery code of somebody else", code: "recovery_code_invalid", do: func(s *scene) (*client, reply) {
			_, codes := s.withCodes("bob")
			a, _ := s.withCodes("alice")
			return a, s.starts(a, map[string]any{"recovery_code": codes[0]})
		}},
		{name: "F3 a recovery code twice", code: "recovery_code_invalid", do: func(s *scene) (*client, reply) {
			c, codes := s.withCodes("alice")
			gatewaytest.Must(s, registerBy(s, c, authtest.New(authtest.Config{}), map[string]any{"recovery_code": codes[0]}).Expect(201))
			return c, s.starts(c, map[string]any{"recovery_code": codes[0]})
		}},
		{name: "F3 a recovery code that new ones replaced", code: "recovery_code_invalid", do: func(s *scene) (*client, reply) {
			c, codes := s.withCodes("alice")
			authorization, err := c.Authorize("recovery_codes", "")
			gatewaytest.Must(s, err)
			gatewaytest.Must(s, s.sent(c, "POST", "/.stepgate/recovery-codes", map[string]any{"authorization": authorization}).Expect(200))
			return c, s.starts(c, map[string]any{"recovery_code": codes[0]})
		}},
		{name: "F3 new recovery codes with a grant and nothing else", code: "authorization_needed", do: func(s *scene) (*client, reply) {
			c := s.insider("alice")
			return c, s.sent(c, "POST", "/.stepgate/recovery-codes", map[string]any{})
		}},
		{name: "F3 an invitation of somebody else", code: "invitation_invalid", do: func(s *scene) (*client, reply) {
			a, b := s.holder("alice"), s.holder("bob")
			return a, s.starts(a, map[string]any{"invitation": s.invited(b.User)})
		}},
		{name: "F3 an invitation that is a guess", code: "invitation_invalid", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			s.invited(c.User)
			return c, s.starts(c, map[string]any{"invitation": strings.Repeat("A", 43)})
		}},
		{name: "F3 an invitation twice", code: "invitation_invalid", do: func(s *scene) (*client, reply) {
			c := s.holder("alice")
			code := s.invited(c.User)
			gatewaytest.Must(s, registerBy(s, c, authtest.New(authtest.Config{}), map[string]any{"invitation": code}).Expect(201))
			return c, s.starts(c, map[string]any{"invitation": code})
		}},
		refusedName("none", ""),
		refusedName("blank", " \t "),
		refusedName("of 65 letters", strings.Repeat("é", 65)),
		refusedName("of 60 kB", strings.Repeat("a", 60_000)),
		refusedName("with a line break", "a\nb"),
		refusedName("with an escape", "a\x1b[31mb"),
		refusedName("with NUL", "a\x00b"),
		refusedName("with an override of direction", "a\u202eb"),
		refusedName("with an isolate", "a\u2066b"),
		refusedName("invisible", "\u200b\u200b"),
		{name: "F12 a name that another passkey has, in capitals", code: "name_taken", do: func(s *scene) (*client, reply) {
			c, _ := s.twoKeys("alice")
			return c, s.sent(c, "PATCH", s.passkey(c, "Key"), map[string]any{"name": "usb"})
		}},
	}}.run(t)
}

// phoneBeside is somebody's synced passkey, who also has a key that is bound to its device.
func (s *scene) phoneBeside(name string) *client {
	s.Helper()
	phone := s.visitor(name)
	phone.Key = authtest.New(authtest.Config{Synced: true})
	gatewaytest.Must(s, phone.Register("Phone"))
	authorization, err := phone.Authorize("add", "")
	gatewaytest.Must(s, err)
	body, err := phone.BeginRegistration(authtest.New(authtest.Config{}), "Key", authorization)
	gatewaytest.Must(s, err)
	gatewaytest.Must(s, s.sent(phone, "POST", gatewaytest.Account, body).Expect(201))
	return phone
}

// registerBy registers a passkey by a code.
func registerBy(s *scene, c *client, key *authtest.Authenticator, wish map[string]any) reply {
	s.Helper()
	options := s.starts(c, wish)
	if options.Status != 200 {
		return options
	}
	credential, err := key.Register(options.Body, c.Origin)
	gatewaytest.Must(s, err)
	return s.sent(c, "POST", gatewaytest.Account, map[string]any{"credential": gatewaytest.RawJSON(credential)})
}

// F14: what somebody has is excluded, and what others have is not told.
func TestF14_Excluded(t *testing.T) {
	gatewaytest.OnEachStore(t, func(t *testing.T, on gatewaytest.Store) {
		s := &scene{T: t, g: fortress(t, on), version: http1, who: "f14"}
		a, _ := s.twoKeys("alice")
		s.holder("bob")
		authorization, err := a.Authorize("add", "")
		gatewaytest.Must(t, err)
		answer := s.starts(a, map[string]any{"authorization": authorization})
		gatewaytest.Must(t, answer.Expect(200))
		var options struct {
			PublicKey struct {
				ExcludeCredentials []struct{ ID string }
			}
		}
		gatewaytest.Must(t, json.Unmarshal(answer.Body, &options))
		if n := len(options.PublicKey.ExcludeCredentials); n != 2 {
			t.Errorf("%d credentials are excluded, want alice's 2: %s", n, answer.Body)
		}
	})
}
