package ceremony

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/strictjson"
)

const challengeLength = 32 // bytes; WebAuthn L3 §13.4.3 asks for at least 16

// reply is what both kinds of reply have in common, as far as our own checks need it.
type reply struct {
	challenge  []byte
	client     clientData
	extensions extensions
	rpIDHash   [sha256.Size]byte
	flags      protocol.AuthenticatorFlags
	credential []byte // rawId
	envelope   protocol.PublicKeyCredential
}

// clientData is the collected client data of WebAuthn L3 §5.8.1.
type clientData struct {
	kind        protocol.CeremonyType
	origin      string
	crossOrigin bool
	topOrigin   bool // present, whatever it holds
}

// extensions are the client extension results that matter: see extensions.check.
type extensions struct {
	appID                bool
	remoteClientDataJSON bool
}

// assertion is a parsed reply to an authentication.
type assertion struct {
	reply
	userHandle []byte
	signCount  uint32
	parsed     *protocol.ParsedCredentialAssertionData
}

// attestation is a parsed reply to a registration.
type attestation struct {
	reply
	transports []string
	data       protocol.AuthenticatorData
	object     attestationObject
	parsed     *protocol.ParsedCredentialCreationData
}

// parseAssertion reads AuthenticationResponseJSON (WebAuthn L3 §5.1): what PublicKeyCredential.toJSON() gives after
// navigator.credentials.get(). The error is passkey.BodyTooLarge or passkey.BodyMalformed.
func parseAssertion(body []byte) (assertion, error) {
	a, response, err := parseReply(body, "authenticatorData", "signature", "userHandle")
	if err != nil {
		return assertion{}, err
	}
	raw := protocol.CredentialAssertionResponse{
		PublicKeyCredential: a.envelope,
		AssertionResponse: protocol.AuthenticatorAssertionResponse{
			AuthenticatorResponse: protocol.AuthenticatorResponse{ClientDataJSON: response.Bytes("clientDataJSON")},
			AuthenticatorData:     response.Bytes("authenticatorData"),
			Signature:             response.Bytes("signature"),
			UserHandle:            response.OptionalBytes("userHandle"),
		},
	}
	if response.Err() != nil {
		return assertion{}, response.Err()
	}
	parsed, err := raw.Parse()
	if err != nil {
		return assertion{}, malformed("not an assertion")
	}
	data := parsed.Response.AuthenticatorData
	copy(a.rpIDHash[:], data.RPIDHash)
	a.flags = data.Flags
	return assertion{reply: a, userHandle: raw.AssertionResponse.UserHandle, signCount: data.Counter, parsed: parsed}, nil
}

// parseAttestation reads RegistrationResponseJSON: what toJSON() gives after navigator.credentials.create(). Its members
// authenticatorData, publicKey and publicKeyAlgorithm repeat, unsigned, what the attestation object says, so they are
// not read. direct is whether attestation was asked for.
func parseAttestation(body []byte, direct bool) (attestation, error) {
	a, response, err := parseReply(body, "attestationObject", "transports")
	if err != nil {
		return attestation{}, err
	}
	raw := protocol.CredentialCreationResponse{
		PublicKeyCredential: a.envelope,
		AttestationResponse: protocol.AuthenticatorAttestationResponse{
			AuthenticatorResponse: protocol.AuthenticatorResponse{ClientDataJSON: response.Bytes("clientDataJSON")},
			AttestationObject:     response.Bytes("attestationObject"),
		},
	}
	transports := response.Texts("transports")
	if response.Err() != nil {
		return attestation{}, response.Err()
	}
	if len(a.credential) > passkey.MaxIDLength { // go-webauthn would not parse it: name the reason
		return attestation{}, fmt.Errorf("reading the credential id: %w", passkey.CredentialIDInvalid)
	}
	object, err := parseAttestationObject(raw.AttestationResponse.AttestationObject, direct)
	if err != nil {
		return attestation{}, err
	}
	parsed, err := raw.Parse()
	if err != nil {
		return attestation{}, malformed("not an attestation")
	}
	data := parsed.Response.AttestationObject.AuthData
	if err := checkKeyEncoding(parsed.Response.AttestationObject.RawAuthData, data); err != nil {
		return attestation{}, err
	}
	copy(a.rpIDHash[:], data.RPIDHash)
	a.flags = data.Flags
	return attestation{reply: a, transports: transports, data: data, object: object, parsed: parsed}, nil
}

// maxBody bounds a credential's JSON, in bytes; one with a 1023-byte id and a TPM attestation has about 12 KiB.
const maxBody = 64 << 10

// malformed says what is wrong with a reply, in words of ours only: never anything the client sent.
func malformed(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, passkey.BodyMalformed)...)
}

// parseReply reads what both kinds have in common and returns a reader for the response, in which the members named
// are the ones of that kind.
func parseReply(body []byte, members ...string) (reply, *strictjson.Reader, error) {
	if len(body) > maxBody {
		return reply{}, nil, fmt.Errorf("reading a reply of %d bytes: %w", len(body), passkey.BodyTooLarge)
	}
	o, err := strictjson.Parse(body)
	if err != nil {
		return reply{}, nil, err
	}
	top := strictjson.Read(o, "id", "rawId", "type", "authenticatorAttachment", "response", "clientExtensionResults")
	var a reply
	a.credential = top.Bytes("rawId")
	a.envelope.ID = top.Text("id")
	a.envelope.RawID = a.credential
	a.envelope.Type = top.Text("type")
	if a.envelope.ID != base64.RawURLEncoding.EncodeToString(a.credential) || len(a.credential) == 0 {
		top.Fail("id is not rawId")
	}
	if a.envelope.Type != string(protocol.PublicKeyCredentialType) {
		top.Fail("not a public key credential")
	}
	if top.Given("authenticatorAttachment") {
		a.envelope.AuthenticatorAttachment = top.Text("authenticatorAttachment")
	}
	response := strictjson.Read(top.Object("response"), append(members, "clientDataJSON")...)
	if top.Has("clientExtensionResults") {
		a.extensions, a.envelope.ClientExtensionResults = readExtensions(top)
	}
	if top.Err() != nil {
		return reply{}, nil, top.Err()
	}
	if a.client, a.challenge, err = parseClientData(response.Bytes("clientDataJSON")); err != nil {
		return reply{}, nil, err
	}
	return a, response, nil
}

func readExtensions(top *strictjson.Reader) (extensions, protocol.AuthenticationExtensionsClientOutputs) {
	results := strictjson.Read(top.Object("clientExtensionResults"), "appid", "credProps", "remoteClientDataJSON")
	var e extensions
	var out protocol.AuthenticationExtensionsClientOutputs
	if results.Has("appid") {
		e.appID = results.Flag("appid")
		out.AppID = &e.appID
	}
	if results.Has("credProps") {
		props := strictjson.Read(results.Object("credProps"), "rk")
		out.CredProps = &protocol.CredentialPropertiesOutput{}
		if props.Has("rk") {
			rk := props.Flag("rk")
			out.CredProps.RK = &rk
		}
		results.Adopt(props)
	}
	e.remoteClientDataJSON = results.Has("remoteClientDataJSON")
	top.Adopt(results)
	return e, out
}

// parseClientData reads the JSON that the client made and the authenticator signed (WebAuthn L3 §5.8.1.1). Members that
// we do not know are allowed, as the specification asks for.
func parseClientData(text []byte) (clientData, []byte, error) {
	o, err := strictjson.Parse(text)
	if err != nil {
		return clientData{}, nil, err
	}
	r := strictjson.Read(o, "type", "challenge", "origin", "crossOrigin", "topOrigin", "tokenBinding")
	client := clientData{
		kind:        protocol.CeremonyType(r.Text("type")),
		origin:      r.Text("origin"),
		crossOrigin: r.Flag("crossOrigin"),
		topOrigin:   r.Has("topOrigin"),
	}
	challenge := r.Bytes("challenge")
	if len(challenge) != challengeLength {
		r.Fail("a challenge of %d bytes", len(challenge))
	}
	return client, challenge, r.Err()
}
