package gatewaytest

import (
	"errors"
	"fmt"
)

const Account = "/.stepgate/passkeys"

// Session registers, steps up, and opens a protected path.
func Session(c *Client) error {
	if err := c.Register("Key"); err != nil {
		return fmt.Errorf("%s: %w", c.User, err)
	}
	answer, err := c.StepUp("/keys")
	if err == nil {
		err = answer.Expect(200)
	}
	if err == nil {
		_, err = c.Step("GET", "/keys", nil, 200)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.User, err)
	}
	return nil
}

// Recovered holds that all is well for a client that has a passkey.
func Recovered(c *Client) error {
	answer, err := c.StepUp("/keys")
	if err != nil {
		return err
	}
	return Passes(c, answer)
}

// Passes holds that an answer is a grant, and that it is good.
func Passes(c *Client, answer Reply) error {
	if err := answer.Expect(200); err != nil {
		return err
	}
	if !answer.Grants() {
		return errors.New("no grant was set")
	}
	_, err := c.Step("GET", "/keys", nil, 200)
	return err
}

// Unavailable holds that an answer is a 503 that says why, without a grant.
func (r Reply) Unavailable() error {
	if err := r.Refused(503, "store_unavailable"); err != nil {
		return err
	}
	if r.Header.Get("Retry-After") == "" {
		return fmt.Errorf("no Retry-After in %v", r.Header)
	}
	return nil
}
