package authtest

import (
	"encoding/json"
	"slices"
)

// Lie changes one thing about a reply. Lies told together apply in their order.
type Lie struct {
	before, after func(*Draft)
	wire          func([]byte) []byte
	obstinate     bool
}

// BeforeSigning changes what gets signed.
func BeforeSigning(change func(*Draft)) Lie { return Lie{before: change} }

// AfterSigning changes what was signed, or what is sent beside it.
func AfterSigning(change func(*Draft)) Lie { return Lie{after: change} }

// OnTheWire changes the JSON text of the reply.
func OnTheWire(change func([]byte) []byte) Lie { return Lie{wire: change} }

// Obstinate makes the authenticator do what it is told though an honest one would refuse: sign with its newest credential
// though it is not allowed, register though it holds an excluded one, or with an algorithm that was not offered, or
// without verifying the user.
func Obstinate() Lie { return Lie{obstinate: true} }

func obstinate(lies []Lie) bool {
	return slices.ContainsFunc(lies, func(l Lie) bool { return l.obstinate })
}

// Lies about the client data, signed.

// Type claims another ceremony, such as "payment.get".
func Type(kind string) Lie { return ClientData("type", kind) }

// Challenge answers another challenge.
func Challenge(challenge []byte) Lie { return ClientData("challenge", encode(challenge)) }

// Origin claims another origin than the page's.
func Origin(origin string) Lie { return ClientData("origin", origin) }

// CrossOrigin says whether the page is in a frame of another origin.
func CrossOrigin(cross bool) Lie { return ClientData("crossOrigin", cross) }

// TopOrigin names the origin of the outermost page.
func TopOrigin(origin string) Lie { return ClientData("topOrigin", origin) }

// ClientData sets a member of the client data.
func ClientData(name string, value any) Lie {
	return BeforeSigning(func(d *Draft) { d.ClientData.Set(name, value) })
}

// MoreClientData appends a member, also when there is one of that name.
func MoreClientData(name string, value any) Lie {
	return BeforeSigning(func(d *Draft) { d.ClientData = append(d.ClientData, Member{name, value}) })
}

// NoClientData leaves a member of the client data out.
func NoClientData(name string) Lie {
	return BeforeSigning(func(d *Draft) { d.ClientData.Delete(name) })
}

// ClientDataJSON changes the text of the client data, and signs the changed one.
func ClientDataJSON(change func(text []byte) []byte) Lie {
	return BeforeSigning(func(d *Draft) {
		text, err := json.Marshal(d.ClientData)
		if err != nil {
			panic(err)
		}
		d.ClientDataJSON = change(text)
	})
}

// Lies about the authenticator data, signed.

// RPID signs for another relying party.
func RPID(id string) Lie { return BeforeSigning(func(d *Draft) { d.RPIDHash = hash([]byte(id)) }) }

// Set sets flags.
func Set(flags byte) Lie { return BeforeSigning(func(d *Draft) { d.Flags |= flags }) }

// Clear clears flags.
func Clear(flags byte) Lie { return BeforeSigning(func(d *Draft) { d.Flags &^= flags }) }

// SignCount signs this sign count, whatever the authenticator counted.
func SignCount(n uint32) Lie { return BeforeSigning(func(d *Draft) { d.SignCount = n }) }

// AAGUID claims to be of another model.
func AAGUID(id [16]byte) Lie { return BeforeSigning(func(d *Draft) { d.AAGUID = id }) }

// CredentialID registers under another id.
func CredentialID(id []byte) Lie { return BeforeSigning(func(d *Draft) { d.CredentialID = id }) }

// Key sets a member of the registered COSE key; nil removes it.
func Key(label int, value any) Lie {
	return BeforeSigning(func(d *Draft) {
		if value == nil {
			delete(d.PublicKey, label)
			return
		}
		d.PublicKey[label] = value
	})
}

// RawKey registers these bytes in place of a COSE key.
func RawKey(key []byte) Lie { return BeforeSigning(func(d *Draft) { d.RawPublicKey = key }) }

// AuthenticatorExtensions adds extension outputs to the authenticator data, with the flag for them.
func AuthenticatorExtensions(outputs any) Lie {
	return BeforeSigning(func(d *Draft) {
		d.Flags |= ED
		d.AuthenticatorExtensions = canonical(outputs)
	})
}

// Lies told after signing.

// Signature changes the signature of an assertion.
func Signature(change func(signature []byte) []byte) Lie {
	return AfterSigning(func(d *Draft) { d.Signature = change(d.Signature) })
}

// AuthenticatorData changes the authenticator data of an assertion without signing it.
func AuthenticatorData(change func(data []byte) []byte) Lie {
	return AfterSigning(func(d *Draft) { d.AuthenticatorData = change(slices.Clone(d.AuthenticatorData)) })
}

// Attested changes the attestation object of a registration after it was made.
func Attested(change func(object []byte) []byte) Lie {
	return AfterSigning(func(d *Draft) { d.AttestationObject = change(slices.Clone(d.AttestationObject)) })
}

// Statement sends an attestation object with another format and statement around the same authenticator data.
func Statement(format string, statement any) Lie {
	return AfterSigning(func(d *Draft) {
		d.AttestationObject = AttestationObject(format, statement, d.AuthenticatorData)
	})
}

// UserHandle sends this user handle; nil leaves it out.
func UserHandle(handle []byte) Lie { return AfterSigning(func(d *Draft) { d.UserHandle = handle }) }

// As claims that another credential signed.
func As(id []byte) Lie { return AfterSigning(func(d *Draft) { d.ID, d.RawID = id, id }) }

// RawID makes rawId differ from id.
func RawID(id []byte) Lie { return AfterSigning(func(d *Draft) { d.RawID = id }) }

// Transports claims these transports.
func Transports(transports ...string) Lie {
	return AfterSigning(func(d *Draft) { d.Transports = transports })
}

// Extension adds a client extension result.
func Extension(name string, value any) Lie {
	return AfterSigning(func(d *Draft) { d.Extensions = append(d.Extensions, Member{name, value}) })
}

// ResponseMember appends a member to "response", also when there is one of that name.
func ResponseMember(name string, value any) Lie {
	return AfterSigning(func(d *Draft) { d.Response = append(d.Response, Member{name, value}) })
}

// BodyMember appends a member to the whole, also when there is one of that name.
func BodyMember(name string, value any) Lie {
	return AfterSigning(func(d *Draft) { d.Body = append(d.Body, Member{name, value}) })
}

// Then returns a lie that tells both. Stages keep their order: all that comes before signing happens first.
func (l Lie) Then(next Lie) Lie {
	return Lie{
		before:    both(l.before, next.before),
		after:     both(l.after, next.after),
		obstinate: l.obstinate || next.obstinate,
		wire: func(b []byte) []byte {
			for _, change := range []func([]byte) []byte{l.wire, next.wire} {
				if change != nil {
					b = change(b)
				}
			}
			return b
		},
	}
}

func both(first, second func(*Draft)) func(*Draft) {
	return func(d *Draft) {
		for _, change := range []func(*Draft){first, second} {
			if change != nil {
				change(d)
			}
		}
	}
}
