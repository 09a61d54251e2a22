package caddymodule

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/gate"
)

// options looks at what is said once for all sites.
func (l *linter) options() {
	for _, placeholder := range l.keyless {
		l.found("grant_keys_here", note, nil, nil, fmt.Sprintf("grant_keys %s holds nothing here. On the gateway it must, or it does not start.", placeholder),
			"Nothing, if it is set where the gateway runs; `stepgate keygen` makes a key.")
	}
	l.metadata()
	switch lag := l.app.RevocationLag; {
	case lag == nil:
	case *lag == 0:
		l.found("revocation_lag", note, nil, nil, "revocation_lag 0 asks the store at every protected request: each waits for it, and DynamoDB counts it.",
			"Leave it out (5s), unless a removed passkey must not pass for a second.")
	case time.Duration(*lag) > 30*time.Second:
		l.found("revocation_lag", warning, nil, nil, fmt.Sprintf("revocation_lag %s: for that long a removed passkey or a logout is not honoured on the other gateways.", time.Duration(*lag)),
			"Give it 30s at the most; 5s is the default.")
	}
}

// reachOrigins holds origins and sites against each other.
func (l *linter) reachOrigins() {
	for _, origin := range l.app.allOrigins() {
		word := "origins"
		if slices.Contains(l.app.RelatedOrigins, origin) {
			word = "related_origins"
		}
		u, err := url.Parse(origin + "/")
		if err != nil {
			continue
		}
		srv, way, err := l.find(u)
		if err != nil {
			why := "no site serves it"
			if !isNoSite(err) {
				why = err.Error()
			}
			l.found("origin_unserved", warning, nil, nil, fmt.Sprintf("The origin %s: %s.", origin, why), "Add its site, or take it out of `"+word+"`.")
			continue
		}
		st := srv.siteOf(u.Hostname())
		if st == nil {
			continue
		}
		if len(st.gates) == 0 {
			l.found("origin_ungated", warning, st, nil, fmt.Sprintf("%s is an origin, and its site has no stepgate block.", origin), "Write `stepgate` in the site, or take the origin out.")
			continue
		}
		switch {
		case u.Scheme == "https" && !srv.secure && !srv.trustedProxies:
			l.found("tls_elsewhere", warning, st, nil, fmt.Sprintf("%s is https, and this site speaks plain HTTP without trusted_proxies: every protected request gets 421 origin_insecure.", origin),
				"Name the load balancer that ends TLS: `servers { trusted_proxies static <its addresses> }`.")
		case len(way) > 0:
			l.found("origin_elsewhere", note, st, nil, fmt.Sprintf("Nothing here listens for %s itself: something in front of this site has to.", origin), "Nothing, if there is a load balancer.")
		}
	}
	for _, srv := range l.servers {
		for _, st := range srv.sites {
			if len(st.gates) == 0 {
				continue
			}
			for _, host := range st.hosts {
				wild := &site{server: srv, hosts: []string{host}}
				if !strings.Contains(host, "{") && !slices.ContainsFunc(l.app.allOrigins(), func(origin string) bool { return wild.matches(gate.HostOf(origin)) }) {
					l.found("host_without_origin", warning, st, nil, fmt.Sprintf("No origin names %s: every protected request there gets 421 origin_unknown.", host),
						fmt.Sprintf("Add it: `%s`.", gate.OriginLine(l.app.RPID, l.app.allOrigins(), host)))
				}
			}
		}
	}
}
