package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// wellKnownOrigins is where browsers look for related origins, on the RP ID's own host and nowhere else.
const wellKnownOrigins = "/.well-known/webauthn"

// related looks at who answers browsers that ask which origins are related. They ask without credentials and take nothing
// but a 200 with JSON (WebAuthn L3 §5.11).
func (l *linter) related() {
	if len(l.app.RelatedOrigins) == 0 {
		return
	}
	u := &url.URL{Scheme: "https", Host: l.app.RPID, Path: wellKnownOrigins}
	list, _ := json.Marshal(map[string][]string{"origins": l.app.allOrigins()}) // strings only: it can't fail
	answer := fmt.Sprintf("200, Content-Type application/json, %s", list)
	srv, _, err := l.find(u)
	if err != nil {
		l.found("related_elsewhere", note, nil, nil, fmt.Sprintf("Browsers ask %s for the related origins, and nothing here serves %s.", u, l.app.RPID),
			fmt.Sprintf("Have whoever serves that host answer there, without a sign-in or a redirect: %s.", answer))
		return
	}
	st := srv.siteOf(l.app.RPID)
	left := maxCases
	for _, x := range l.waysOf(asked{server: srv, method: http.MethodGet, url: u}, map[string]bool{}, &left) {
		switch {
		case x.end.Result == resultOwn:
			continue
		case x.end.Result == resultUngated && slices.ContainsFunc(x.trail, func(m met) bool { return m.kind == "answers" }) && (x.end.Status == 0 || x.end.Status == http.StatusOK):
			l.found("related_elsewhere", note, st, nil, fmt.Sprintf("Browsers ask %s for the related origins, and %s answers, not the gateway.", u, x.end.By),
				fmt.Sprintf("See that the answer is %s.", answer))
		default:
			by := x.end.By
			if x.end.Code != "" {
				by = fmt.Sprintf("the gate, with %d %s", x.end.Status, x.end.Code)
			}
			l.found("related_unanswered", warning, st, nil, fmt.Sprintf("Browsers ask %s for the related origins, without signing in. They are answered by %s, so they refuse passkeys on all of them.", u, by),
				"Leave the path out of the first factor (`@private not path "+wellKnownOrigins+" /.well-known/passkey-endpoints`) and let the gate see it, or answer it here: "+answer+".")
		}
	}
}
