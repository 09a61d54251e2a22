package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// parseTarget reads what is asked about as a client would send it. A path alone is of the only origin.
func (s *settings) parseTarget(method, text string) (*url.URL, error) {
	if _, err := http.NewRequest(method, "/", nil); err != nil || method == "" { // it knows which methods there can be
		return nil, fmt.Errorf("%q is no request method", method)
	}
	if strings.HasPrefix(text, "/") {
		origins := s.app.allOrigins()
		if len(origins) != 1 {
			return nil, fmt.Errorf("say on which origin: %s", strings.Join(origins, ", "))
		}
		text = origins[0] + text
	}
	text, _, _ = strings.Cut(text, "#")
	scheme, rest, found := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !found || scheme != "http" && scheme != "https" {
		return nil, fmt.Errorf("%q is no URL: give it with its scheme, for example https://console.example.com/admin/", text)
	}
	host, target := rest, "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		host, target = rest[:i], rest[i:]
	}
	if strings.HasPrefix(target, "?") {
		target = "/" + target
	}
	at, err := url.Parse(scheme + "://" + host)
	if err != nil || at.Host == "" || at.User != nil || at.Hostname() == "" {
		return nil, fmt.Errorf("%q is no URL: there is no host in it that a request could be sent to", text)
	}
	// Under the rules of net/http, which refuses what does not parse before any handler sees it.
	u, err := url.ParseRequestURI(target)
	if err != nil || strings.ContainsAny(target, " \t\r\n") {
		return nil, fmt.Errorf("%q is no URL: the gateway's HTTP server answers 400 to it", text)
	}
	u.Scheme, u.Host = scheme, at.Host
	return u, nil
}

var errNoSite = errors.New("no such site")

// find returns the server that a URL leads to, and what is to be known about the way there.
func (s *settings) find(u *url.URL) (found *server, notes []string, err error) {
	ports := []int{s.httpPort, 80}
	if u.Scheme == "https" {
		ports = []int{s.httpsPort, 443}
	}
	if u.Port() != "" {
		port, err := strconv.Atoi(u.Port())
		if err != nil {
			return nil, nil, fmt.Errorf("%q is no port", u.Port())
		}
		ports = []int{port}
	}
	for _, port := range ports {
		for _, srv := range s.servers {
			if !slices.Contains(srv.ports, port) || !srv.serves(u.Hostname()) {
				continue
			}
			switch {
			case u.Scheme == "https" && !srv.secure:
				return srv, []string{fmt.Sprintf("Port %d speaks plain HTTP here, so something in front (a load balancer) has to end TLS.", port)}, nil
			case u.Scheme == "http" && srv.secure:
				return nil, nil, fmt.Errorf("port %d speaks TLS: ask about https://%s", port, u.Host)
			}
			return srv, nil, nil
		}
	}
	for _, srv := range s.servers { // Caddy's own redirects
		if u.Scheme == "http" && (u.Port() == "" || u.Port() == strconv.Itoa(s.httpPort)) && srv.redirects && srv.hosts(u.Hostname()) {
			return srv, nil, nil
		}
	}
	// An origin that nothing here listens for: a load balancer's, or a mapped port.
	if slices.Contains(s.app.allOrigins(), u.Scheme+"://"+u.Host) {
		var candidates []*server
		for _, srv := range s.servers {
			if (!srv.secure || u.Scheme == "https") && slices.ContainsFunc(srv.sites, func(st *site) bool { return len(st.gates) > 0 && st.matches(u.Hostname()) }) {
				candidates = append(candidates, srv)
			}
		}
		if len(candidates) > 0 {
			return candidates[0], []string{fmt.Sprintf("Nothing listens on the port of %s://%s here, so this is taken to come through something in front of %s.",
				u.Scheme, u.Host, strings.Join(candidates[0].listen, ", "))}, nil
		}
	}
	return nil, nil, fmt.Errorf("%w: nothing in this configuration serves %s://%s; there is %s", errNoSite, u.Scheme, u.Host, strings.Join(s.siteNames(), "; "))
}

func (s *settings) siteNames() (names []string) {
	for _, srv := range s.servers {
		for _, st := range srv.sites {
			names = append(names, st.name())
		}
	}
	if len(names) == 0 {
		names = []string{"no site at all"}
	}
	return names
}

// serves reports whether a server has routes for a host.
func (srv *server) serves(host string) bool {
	return slices.ContainsFunc(srv.sites, func(st *site) bool { return st.matches(host) })
}

// hosts reports whether a site of the server names a host.
func (srv *server) hosts(host string) bool {
	return slices.ContainsFunc(srv.sites, func(st *site) bool { return len(st.hosts) > 0 && st.matches(host) })
}

// matches reports whether a site is for a host, as Caddy's matcher has it: `*` stands for one label.
func (s *site) matches(host string) bool {
	host = strings.ToLower(host)
	return len(s.hosts) == 0 || slices.ContainsFunc(s.hosts, func(pattern string) bool {
		pattern = strings.ToLower(pattern)
		if strings.Contains(pattern, "{") {
			return true // perhaps
		}
		if !strings.Contains(pattern, "*") {
			return pattern == host
		}
		labels, want := strings.Split(host, "."), strings.Split(pattern, ".")
		if len(labels) != len(want) {
			return false
		}
		for i := range want {
			if want[i] != "*" && want[i] != labels[i] {
				return false
			}
		}
		return true
	})
}

// siteOf returns the site that a host's requests go to.
func (srv *server) siteOf(host string) *site {
	for _, st := range srv.sites {
		if st.matches(host) {
			return st
		}
	}
	return nil
}
