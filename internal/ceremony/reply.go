package ceremony

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/go-webauthn/webauthn/protocol"

	"github.com/stepgate/stepgate/internal/passkey"
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

// extensions are the client extension results that matter: see checkExtensions.
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
			AuthenticatorResponse: protocol.AuthenticatorResponse{ClientDataJSON: response.bytes("clientDataJSON")},
			AuthenticatorData:     response.bytes("authenticatorData"),
			Signature:             response.bytes("signature"),
			UserHandle:            response.optionalBytes("userHandle"),
		},
	}
	if response.err != nil {
		return assertion{}, response.err
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
// not read.
func parseAttestation(body []byte) (attestation, error) {
	a, response, err := parseReply(body, "attestationObject", "transports")
	if err != nil {
		return attestation{}, err
	}
	raw := protocol.CredentialCreationResponse{
		PublicKeyCredential: a.envelope,
		AttestationResponse: protocol.AuthenticatorAttestationResponse{
			AuthenticatorResponse: protocol.AuthenticatorResponse{ClientDataJSON: response.bytes("clientDataJSON")},
			AttestationObject:     response.bytes("attestationObject"),
		},
	}
	transports := response.texts("transports")
	if response.err != nil {
		return attestation{}, response.err
	}
	if len(a.credential) > passkey.MaxIDLength { // go-webauthn would not parse it: name the reason
		return attestation{}, fmt.Errorf("reading the credential id: %w", passkey.CredentialIDInvalid)
	}
	object, err := parseAttestationObject(raw.AttestationResponse.AttestationObject)
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

// parseReply reads what both kinds have in common and returns a reader for the response, in which the members named
// are the ones of that kind.
func parseReply(body []byte, members ...string) (reply, *reader, error) {
	if len(body) > maxBody {
		return reply{}, nil, fmt.Errorf("reading a reply of %d bytes: %w", len(body), passkey.BodyTooLarge)
	}
	o, err := parseObject(body)
	if err != nil {
		return reply{}, nil, err
	}
	top := read(o, "id", "rawId", "type", "authenticatorAttachment", "response", "clientExtensionResults")
	var a reply
	a.credential = top.bytes("rawId")
	a.envelope.ID = top.text("id")
	a.envelope.RawID = a.credential
	a.envelope.Type = top.text("type")
	if a.envelope.ID != base64.RawURLEncoding.EncodeToString(a.credential) || len(a.credential) == 0 {
		top.fail("id is not rawId")
	}
	if a.envelope.Type != string(protocol.PublicKeyCredentialType) {
		top.fail("not a public key credential")
	}
	if o["authenticatorAttachment"] != nil {
		a.envelope.AuthenticatorAttachment = top.text("authenticatorAttachment")
	}
	response := read(top.child("response"), append(members, "clientDataJSON")...)
	if top.has("clientExtensionResults") {
		a.extensions, a.envelope.ClientExtensionResults = readExtensions(top)
	}
	if top.err != nil {
		return reply{}, nil, top.err
	}
	if a.client, a.challenge, err = parseClientData(response.bytes("clientDataJSON")); err != nil {
		return reply{}, nil, err
	}
	return a, response, nil
}

func readExtensions(top *reader) (extensions, protocol.AuthenticationExtensionsClientOutputs) {
	results := read(top.child("clientExtensionResults"), "appid", "credProps", "remoteClientDataJSON")
	var e extensions
	var out protocol.AuthenticationExtensionsClientOutputs
	if results.has("appid") {
		e.appID = results.flag("appid")
		out.AppID = &e.appID
	}
	if results.has("credProps") {
		props := read(results.child("credProps"), "rk")
		out.CredProps = &protocol.CredentialPropertiesOutput{}
		if props.has("rk") {
			rk := props.flag("rk")
			out.CredProps.RK = &rk
		}
		if results.err == nil {
			results.err = props.err
		}
	}
	e.remoteClientDataJSON = results.has("remoteClientDataJSON")
	if top.err == nil {
		top.err = results.err
	}
	return e, out
}

// parseClientData reads the JSON that the client made and the authenticator signed (WebAuthn L3 §5.8.1.1). Members that
// we do not know are allowed, as the specification asks for.
func parseClientData(text []byte) (clientData, []byte, error) {
	o, err := parseObject(text)
	if err != nil {
		return clientData{}, nil, err
	}
	r := read(o, "type", "challenge", "origin", "crossOrigin", "topOrigin", "tokenBinding")
	client := clientData{
		kind:        protocol.CeremonyType(r.text("type")),
		origin:      r.text("origin"),
		crossOrigin: r.flag("crossOrigin"),
		topOrigin:   r.has("topOrigin"),
	}
	challenge := r.bytes("challenge")
	if len(challenge) != challengeLength {
		r.fail("a challenge of %d bytes", len(challenge))
	}
	return client, challenge, r.err
}
