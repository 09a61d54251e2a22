package caddymodule

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stepgate/stepgate/internal/gate"
)

// allOrigins returns the origins that people may reach sites at and use passkeys on: those within the RP ID, and then the
// related ones.
func (a *App) allOrigins() []string {
	origins := a.Origins
	if len(origins) == 0 {
		origins = []string{"https://" + a.RPID}
	}
	return slices.Concat(origins, a.RelatedOrigins)
}

// checkOrigins looks at the origins together, and fills in the one that is there by default.
func (a *App) checkOrigins() error {
	if len(a.Origins) == 0 {
		a.Origins = []string{"https://" + a.RPID}
	}
	for _, origin := range a.Origins {
		if err := gate.CheckOrigin(origin); err != nil {
			return fmt.Errorf("origins: %w", err)
		}
		if err := checkWithin(origin, a.RPID); err != nil {
			return fmt.Errorf("origins: %w", err)
		}
	}
	if len(a.RelatedOrigins) > 0 && a.RPID == "localhost" {
		return errors.New("related_origins: rp_id localhost can't have any: browsers ask the RP ID's host for the list over https")
	}
	for _, origin := range a.RelatedOrigins {
		if err := gate.CheckRelated(origin); err != nil {
			return fmt.Errorf("related_origins: %w", err)
		}
		if gate.Within(origin, a.RPID) {
			return fmt.Errorf("related_origins: origin %q lies within rp_id %q: it belongs to `origins`", origin, a.RPID)
		}
	}
	return a.checkLabels()
}

// checkWithin refuses an origin whose passkeys browsers would refuse.
func checkWithin(origin, rpID string) error {
	if !gate.Within(origin, rpID) {
		return fmt.Errorf("origin %q does not lie within rp_id %q: browsers would refuse its passkeys (one outside belongs to `related_origins`)", origin, rpID)
	}
	return nil
}

// checkLabels refuses more names than browsers take from the list that the gateway serves them.
func (a *App) checkLabels() error {
	if len(a.RelatedOrigins) == 0 {
		return nil
	}
	var labels []string
	for _, origin := range a.allOrigins() {
		label, err := gate.RelatedLabel(origin)
		if err != nil {
			continue // within an RP ID that is no registered domain: browsers pass it over, and need not find it
		}
		if !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	if len(labels) > gate.MaxLabels {
		return fmt.Errorf("related_origins: together with origins these are %d different names (%s): browsers take %d at most, and would refuse the passkeys of the others",
			len(labels), strings.Join(labels, ", "), gate.MaxLabels)
	}
	return nil
}
