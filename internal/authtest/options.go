package authtest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// options are the members of PublicKeyCredentialCreationOptionsJSON and PublicKeyCredentialRequestOptionsJSON that an
// authenticator acts on.
type options struct {
	RP struct {
		ID string `json:"id"`
	} `json:"rp"`
	User struct {
		ID encoded `json:"id"`
	} `json:"user"`
	Challenge encoded `json:"challenge"`
	Params    []struct {
		Alg Algorithm `json:"alg"`
	} `json:"pubKeyCredParams"`
	Exclude   []descriptor `json:"excludeCredentials"`
	Selection struct {
		UserVerification string `json:"userVerification"`
	} `json:"authenticatorSelection"`

	RPID             string       `json:"rpId"`
	Allow            []descriptor `json:"allowCredentials"`
	UserVerification string       `json:"userVerification"`
}

type descriptor struct {
	ID encoded `json:"id"`
}

// encoded is base64url without padding, as the JSON forms of WebAuthn L3 §5.1 have it. Anything else is an error, as it
// is in parseCreationOptionsFromJSON.
type encoded string

func (e encoded) bytes() []byte {
	b, _ := base64.RawURLEncoding.DecodeString(string(e))
	return b
}

func (e *encoded) UnmarshalText(text []byte) error {
	if _, err := base64.RawURLEncoding.DecodeString(string(text)); err != nil {
		return err
	}
	*e = encoded(text)
	return nil
}

func (o options) algorithms() []Algorithm {
	var algorithms []Algorithm
	for _, p := range o.Params {
		algorithms = append(algorithms, p.Alg)
	}
	return algorithms
}

func parseOptions(text []byte) (options, error) {
	var o struct {
		PublicKey *options `json:"publicKey"`
	}
	if err := json.Unmarshal(text, &o); err != nil {
		return options{}, fmt.Errorf("authtest: parsing options: %w", err)
	}
	if o.PublicKey == nil {
		return options{}, fmt.Errorf("authtest: parsing options: no member publicKey")
	}
	return *o.PublicKey, nil
}
