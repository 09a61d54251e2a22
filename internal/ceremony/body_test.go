package ceremony_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

// TestMalformedAssertions: what does not parse is refused as such, and does not use up the challenge, or everybody who
// can reach the gateway's path could spoil ceremonies with rubbish.
func TestMalformedAssertions(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	for _, test := range authtest.MalformedAssertions(place) {
		t.Run(test.Name, func(t *testing.T) {
			options := w.start(ada, stepUp)
			_, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin, test.Lie))(t))
			refused(t, err, passkey.BodyMalformed)
			if _, err := w.finish(ada, stepUp, must(a.Authenticate(options, origin))(t)); err != nil {
				t.Errorf("the challenge was used up: %v", err)
			}
		})
	}
}

func TestMalformedAttestations(t *testing.T) {
	w := newWorld(t)
	for i, test := range authtest.MalformedRegistrations(place) {
		t.Run(test.Name, func(t *testing.T) {
			p, a := person(fmt.Sprint("user ", i)), key()
			options := w.startRegistration(p, "", nil)
			_, err := w.finishRegistration(p, "", must(a.Register(options, origin, test.Lie))(t))
			refused(t, err, passkey.BodyMalformed)
			if _, err := w.finishRegistration(p, "", must(key().Register(options, origin))(t)); err != nil {
				t.Errorf("the challenge was used up: %v", err)
			}
		})
	}
}

// TestKindsOfReplyDoNotMix: a reply of one kind does not parse as one of the other.
func TestKindsOfReplyDoNotMix(t *testing.T) {
	w, a := newWorld(t), key()
	creation := w.startRegistration(ada, "", nil)
	created := must(a.Register(creation, origin))(t)
	_, err := w.finish(ada, stepUp, created)
	refused(t, err, passkey.BodyMalformed)
	must(w.finishRegistration(ada, "", created))(t)
	signed := w.reply(ada, stepUp, a)
	_, err = w.finishRegistration(ada, "", signed)
	refused(t, err, passkey.BodyMalformed)
	must(w.finish(ada, stepUp, signed))(t)
}

// TestLongCredentialID is refused before go-webauthn's parser, so that it has its name.
func TestLongCredentialID(t *testing.T) {
	w, a := newWorld(t), authtest.New(authtest.Config{IDLength: 1024})
	_, err := w.finishRegistration(ada, "", must(a.Register(w.startRegistration(ada, "", nil), origin))(t))
	refused(t, err, passkey.CredentialIDInvalid)
}

func TestA42_BodySize(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	padded := func(size int) []byte {
		reply := w.reply(ada, stepUp, a)
		return append(reply, bytes.Repeat([]byte(" "), size-len(reply))...)
	}
	if _, err := w.finish(ada, stepUp, padded(64<<10)); err != nil {
		t.Errorf("64 KiB: %v", err)
	}
	for _, size := range []int{64<<10 + 1, 1 << 20} {
		_, err := w.finish(ada, stepUp, padded(size))
		refused(t, err, passkey.BodyTooLarge)
		_, err = w.finishRegistration(ada, "", padded(size))
		refused(t, err, passkey.BodyTooLarge)
		_, err = w.remove(ada, strings.Repeat("A", 22), padded(size))
		refused(t, err, passkey.BodyTooLarge)
	}
}

func TestNestingAllowed(t *testing.T) {
	w, a := newWorld(t), key()
	w.enrol(ada, a)
	depth := strictjson.MaxDepth - 1 // the body itself is one
	nested := authtest.BodyMember("x", "@@").Then(authtest.Replaced(`"@@"`, strings.Repeat("[", depth)+strings.Repeat("]", depth)))
	if _, err := w.authenticate(ada, stepUp, a, nested); err != nil {
		t.Error(err)
	}
}
