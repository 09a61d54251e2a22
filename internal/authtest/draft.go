package authtest

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"slices"
)

// Member is one member of a JSON object.
type Member struct {
	Name  string
	Value any
}

// Members is a JSON object whose members stand in this order, also when two have the same name.
type Members []Member

// MarshalJSON writes the members in order.
func (m Members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, member := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(member.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(member.Value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Set replaces the value of the member, or appends it.
func (m *Members) Set(name string, value any) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Value = value
			return
		}
	}
	*m = append(*m, Member{name, value})
}

// Delete removes every member of that name.
func (m *Members) Delete(name string) {
	*m = slices.DeleteFunc(*m, func(x Member) bool { return x.Name == name })
}

// Draft is a reply being made. Lies change it: those told before signing see the fields down to AuthenticatorExtensions
// filled in, those told after it see all.
type Draft struct {
	ClientData              Members // becomes ClientDataJSON
	RPIDHash                []byte
	Flags                   byte
	SignCount               uint32
	AAGUID                  [16]byte // registration
	CredentialID            []byte
	PublicKey               COSEKey // registration
	RawPublicKey            []byte  // registration; instead of PublicKey when not nil
	AuthenticatorExtensions []byte  // CBOR; needs the flag ED

	ClientDataJSON    []byte // made from ClientData unless a lie set it
	AuthenticatorData []byte // made from the fields above unless a lie set it
	AttestationObject []byte // registration; made unless a lie set it
	Signature         []byte // authentication

	ID, RawID  []byte // the credential id unless a lie set them
	UserHandle []byte // authentication; left out when nil
	Transports []string
	Attachment string
	Extensions Members // client extension results
	Response   Members // more members of "response"
	Body       Members // more members of the whole

	registration bool
}

// finish tells the lies in their order and returns the JSON.
func (d *Draft) finish(lies []Lie, sign func() error) ([]byte, error) {
	for _, lie := range lies {
		if lie.before != nil {
			lie.before(d)
		}
	}
	if d.ClientDataJSON == nil {
		text, err := json.Marshal(d.ClientData)
		if err != nil {
			return nil, err
		}
		d.ClientDataJSON = text
	}
	if d.AuthenticatorData == nil {
		d.AuthenticatorData = d.data()
	}
	if err := sign(); err != nil {
		return nil, err
	}
	d.ID, d.RawID = d.CredentialID, d.CredentialID
	for _, lie := range lies {
		if lie.after != nil {
			lie.after(d)
		}
	}
	reply, err := json.Marshal(d.body())
	if err != nil {
		return nil, err
	}
	for _, lie := range lies {
		if lie.wire != nil {
			reply = lie.wire(reply)
		}
	}
	return reply, nil
}

// data is the authenticator data of WebAuthn L3 §6.1.
func (d *Draft) data() []byte {
	b := slices.Concat(d.RPIDHash, []byte{d.Flags}, big32(d.SignCount))
	if d.Flags&AT != 0 {
		key := d.RawPublicKey
		if key == nil {
			key = d.PublicKey.CBOR()
		}
		b = append(b, d.AAGUID[:]...)
		b = binary.BigEndian.AppendUint16(b, uint16(len(d.CredentialID)))
		b = append(append(b, d.CredentialID...), key...)
	}
	return append(b, d.AuthenticatorExtensions...)
}

// body is RegistrationResponseJSON or AuthenticationResponseJSON of WebAuthn L3 §5.1.
func (d *Draft) body() Members {
	response := Members{{"clientDataJSON", encode(d.ClientDataJSON)}, {"authenticatorData", encode(d.AuthenticatorData)}}
	if d.registration {
		response = append(response,
			Member{"attestationObject", encode(d.AttestationObject)},
			Member{"transports", d.Transports},
			Member{"publicKeyAlgorithm", d.PublicKey[3]})
	} else {
		response = append(response, Member{"signature", encode(d.Signature)})
		if d.UserHandle != nil {
			response = append(response, Member{"userHandle", encode(d.UserHandle)})
		}
	}
	extensions := d.Extensions
	if extensions == nil {
		extensions = Members{}
	}
	body := Members{
		{"id", encode(d.ID)},
		{"rawId", encode(d.RawID)},
		{"type", "public-key"},
		{"authenticatorAttachment", d.Attachment},
		{"clientExtensionResults", extensions},
		{"response", append(response, d.Response...)},
	}
	return append(body, d.Body...)
}
