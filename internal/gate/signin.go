package gate

import (
	"strconv"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/passkey"
)

// maxTime is how many bytes a time can have. The longest that is read has nanoseconds and a zone.
const maxTime = 64

// readTime reads when somebody signed in: RFC 3339, or seconds since 1970, which may have a fraction. Anything else is the
// zero time, which is unknown. Milliseconds are not taken for seconds: ten digits last until the year 2286.
func readTime(text string) time.Time {
	if len(text) > maxTime {
		return time.Time{}
	}
	if whole, fraction, dotted := strings.Cut(text, "."); isNumber(whole, 10) && (!dotted || isNumber(fraction, 9)) {
		seconds, _ := strconv.ParseInt(whole, 10, 64) // no more digits than fit
		nanoseconds, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		return time.Unix(seconds, nanoseconds).UTC()
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !isStrict(text, at) {
		return time.Time{}
	}
	return at.UTC()
}

// isStrict reports whether what time.Parse took for RFC 3339 is it: it also takes an hour of one digit, a comma for the
// point, and a zone's 24 hours or 60 minutes (go.dev/issue/54580).
func isStrict(text string, at time.Time) bool {
	_, zone := at.Zone()
	const day = 24 * 60 * 60
	return text[len("2006-01-02T15")] == ':' && !strings.Contains(text, ",") && -day < zone && zone < day &&
		(strings.HasSuffix(text, "Z") || text[len(text)-2:] < "60")
}

// isNumber reports whether a text is of 1 to most ASCII digits.
func isNumber(text string, most int) bool {
	return len(text) > 0 && len(text) <= most && strings.Trim(text, "0123456789") == ""
}

// firstUse is whether a person could register a first passkey on the first factor alone, and if not, why.
type firstUse struct {
	open      bool
	uninvited bool            // registration invite
	signIn    passkey.Refusal // what is wrong with the sign-in
}

// firstUse tells the pages what [ceremony.Service] will decide when the person begins.
func (g *Gate) firstUse(x *exchange, account passkey.Account) firstUse {
	switch {
	case account.User.Version > 0:
		return firstUse{}
	case g.cfg.InviteOnly:
		return firstUse{uninvited: true}
	}
	if err := ceremony.CheckSignIn(readTime(x.in.SignedIn), g.cfg.Now(), g.cfg.SignInWithin); err != nil {
		return firstUse{signIn: refusalOf(err)}
	}
	return firstUse{open: true}
}
