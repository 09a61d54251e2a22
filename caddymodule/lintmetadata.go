package caddymodule

import (
	"fmt"
	"os"
	"strings"
)

// metadata looks whether the files of `attestation` are there. It asks no address.
func (l *linter) metadata() {
	if l.app.Attestation == nil {
		return
	}
	const fix = "Put it there before level attested is needed; nothing, if it is there where the gateway runs."
	if place := l.app.metadata.place; !strings.Contains(place, "://") {
		if info, err := os.Stat(place); err != nil || !info.Mode().IsRegular() {
			l.found("metadata_unreadable", note, nil, nil, fmt.Sprintf("The metadata file %s of `attestation` can't be read here. Where it can't, no passkey reaches level attested.", place), fix)
		}
	}
	if root := l.app.metadata.root; root != "" {
		if _, err := readRoot(root); err != nil {
			l.found("metadata_unreadable", note, nil, nil, fmt.Sprintf("The root of `attestation` can't be read here: %v. Where it can't, no metadata is trusted, and no passkey reaches level attested.", err), fix)
		}
	}
}
