package gate

import (
	"hash/maphash"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/grant"
)

// opened is a grant and the text that it was opened from. It is immutable.
//
// The view of a user keeps the grant that was let pass last, so that the next request with the very same text need not
// decode and decrypt it again: that says the same each time. All else about it is judged anew for each request.
type opened struct {
	sealer *grant.Sealer
	sum    uint64 // of the text's end
	text   string
	grant  grant.Grant
	times  [grant.MaxProofs]string // of its proofs, as the upstream is told
}

// seed makes sums that nobody outside can foresee. The texts themselves are compared only where the sums of their ends, which
// hold the seal's tag, are the same: how long a comparison takes tells nobody how much of a guess is right.
var seed = maphash.MakeSeed()

// sumLength is how much of a text's end is summed: more than the 16 bytes of the tag take in base64.
const sumLength = 32

// open opens a grant's text, or finds that it is open. The view may be nil. It fails with [grant.ErrUnreadable].
func (v *view) open(sealer *grant.Sealer, text string) (*opened, error) {
	sum := maphash.String(seed, text[max(len(text)-sumLength, 0):])
	if v != nil {
		if o := v.opened.Load(); o != nil && o.sum == sum && o.sealer == sealer && o.text == text {
			return o, nil
		}
	}
	o := &opened{sealer: sealer, sum: sum}
	if err := o.grant.Open(sealer, text); err != nil {
		return nil, err
	}
	o.text = strings.Clone(text) // or it would hold the whole header
	for i, p := range o.grant.Proofs() {
		o.times[i] = p.Time().Format(time.RFC3339)
	}
	return o, nil
}

// keep has the view's next open find this grant.
func (v *view) keep(o *opened) {
	if v.opened.Load() != o {
		v.opened.Store(o)
	}
}

// proofs returns the grant's proofs; none where there is no grant.
func (o *opened) proofs() []grant.Proof {
	if o == nil {
		return nil
	}
	return o.grant.Proofs()
}

// time returns when one of its proofs was made, RFC 3339.
func (o *opened) time(of grant.Proof) string {
	for i, p := range o.grant.Proofs() {
		if p == of {
			return o.times[i]
		}
	}
	return ""
}
