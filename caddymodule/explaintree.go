package caddymodule

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func (s *settings) readServer(name string, raw rawServer) (*server, error) {
	srv := &server{name: name, listen: raw.Listen, named: map[string]*routeNode{}}
	srv.trustedProxies = raw.Unix || raw.TrustedRaw != nil && string(raw.TrustedRaw) != "null"
	if raw.AutoRaw != nil {
		if err := json.Unmarshal(raw.AutoRaw, &raw.AutoHTTPS); err != nil {
			return nil, err
		}
	}
	onlyPlain := true
	for _, listen := range raw.Listen {
		address, err := caddy.ParseNetworkAddress(listen)
		if err != nil {
			continue // with a placeholder, perhaps: nothing can be said of its port
		}
		for port := address.StartPort; port <= address.EndPort && port != 0 && len(srv.ports) < 100; port++ {
			srv.ports = append(srv.ports, int(port))
			onlyPlain = onlyPlain && int(port) == s.httpPort
		}
	}
	base := "apps/http/servers/" + name
	tree := treeReader{settings: s, server: srv}
	for i, route := range raw.Routes {
		path := base + "/routes/" + strconv.Itoa(i)
		st := &site{server: srv, path: path, hosts: hostsOf(route.Match)}
		if len(st.hosts) == 0 && len(srv.sites) > 0 && len(srv.sites[len(srv.sites)-1].hosts) == 0 {
			st = srv.sites[len(srv.sites)-1] // routes for any host are one site
		} else {
			srv.sites = append(srv.sites, st)
		}
		tree.site = st
		node, err := tree.route(route, path, nil)
		if err != nil {
			return nil, err
		}
		st.routes = append(st.routes, node)
		srv.routes = append(srv.routes, node)
	}
	for i, route := range raw.Errors.Routes {
		tree.site = siteOf(srv, hostsOf(route.Match))
		node, err := tree.route(route, base+"/errors/routes/"+strconv.Itoa(i), nil)
		if err != nil {
			return nil, err
		}
		srv.errors = append(srv.errors, node)
	}
	for _, key := range slices.Sorted(maps.Keys(raw.Named)) {
		tree.site = siteOf(srv, nil)
		node, err := tree.route(raw.Named[key], base+"/named_routes/"+key, nil)
		if err != nil {
			return nil, err
		}
		srv.named[key] = node
	}
	for _, st := range srv.sites {
		st.gates = append(st.gates, invokedGates(srv, st.routes, 0)...)
	}
	named := slices.ContainsFunc(srv.sites, func(st *site) bool {
		return slices.ContainsFunc(st.hosts, func(host string) bool { return !slices.Contains(raw.AutoHTTPS.Skip, host) })
	})
	for _, policy := range raw.TLS {
		srv.clientAuth = srv.clientAuth || strings.Contains(string(policy), `"client_authentication"`)
	}
	// As Caddy's automatic HTTPS decides it when the server starts.
	srv.secure = len(raw.TLS) > 0 || !onlyPlain && (slices.Contains(srv.ports, s.httpsPort) || named && !raw.AutoHTTPS.Disabled)
	srv.redirects = srv.secure && named && !raw.AutoHTTPS.Disabled && !raw.AutoHTTPS.DisableRedir
	return srv, nil
}

// invokedGates lists the gates in the named routes that routes invoke.
func invokedGates(srv *server, routes []*routeNode, depth int) (gates []*handlerNode) {
	for _, route := range routes {
		for _, h := range route.list(nil) {
			named := srv.named[h.invokes()]
			if named == nil || depth > 20 {
				continue
			}
			for _, inner := range named.list(nil) {
				if inner.gate != nil {
					gates = append(gates, inner)
				}
			}
			gates = append(gates, invokedGates(srv, []*routeNode{named}, depth+1)...)
		}
	}
	return gates
}

// invokes returns the named route that a handler invokes, or "".
func (h *handlerNode) invokes() string {
	var invoke struct {
		Name string `json:"name"`
	}
	if h.name == "invoke" {
		_ = json.Unmarshal(h.raw, &invoke)
	}
	return invoke.Name
}

// siteOf returns the site of these hosts; of any host where there is none.
func siteOf(srv *server, hosts []string) *site {
	for _, st := range srv.sites {
		if slices.Equal(st.hosts, hosts) {
			return st
		}
	}
	return &site{server: srv, hosts: hosts}
}

func hostsOf(sets []caddy.ModuleMap) (hosts []string) {
	for _, set := range sets {
		var some []string
		if json.Unmarshal(orNull(set["host"]), &some) == nil {
			hosts = append(hosts, some...)
		}
	}
	return hosts
}

type treeReader struct {
	*settings
	server *server
	site   *site
}

func (t *treeReader) route(raw rawRoute, path string, above []string) (*routeNode, error) {
	node := &routeNode{group: raw.Group, sets: raw.Match, terminal: raw.Terminal}
	for i, set := range raw.Match {
		loaded, err := t.matcherSet(set)
		if err != nil {
			return nil, fmt.Errorf("%s/match/%d: %w", path, i, err)
		}
		node.matchers = append(node.matchers, loaded)
		var paths []string
		if json.Unmarshal(orNull(set["path"]), &paths) == nil {
			above = append(slices.Clone(above), paths...)
		}
	}
	for i, handle := range raw.Handle {
		h, err := t.handler(handle, path+"/handle/"+strconv.Itoa(i), above)
		if err != nil {
			return nil, err
		}
		node.handlers = append(node.handlers, h)
	}
	return node, nil
}

func (t *treeReader) routesIn(list []rawRoute, path string, above []string) (nodes []*routeNode, err error) {
	for i, raw := range list {
		node, err := t.route(raw, path+"/routes/"+strconv.Itoa(i), above)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// changing are Caddy's handlers that change a request and touch nothing else: they are run as they are.
var changing = []string{"rewrite", "headers", "vars", "map"}

func (t *treeReader) handler(raw json.RawMessage, path string, above []string) (*handlerNode, error) {
	var shape struct {
		Handler string     `json:"handler"`
		Routes  []rawRoute `json:"routes"`
		Errors  rawErrors  `json:"errors"`
	}
	_ = json.Unmarshal(raw, &shape) // another handler's `routes` may have another shape
	h := &handlerNode{name: shape.Handler, raw: raw, path: path, site: t.site, above: above}
	var err error
	switch {
	case h.name == "subroute":
		if h.routes, err = t.routesIn(shape.Routes, path, above); err != nil {
			return nil, err
		}
		if h.errors, err = t.routesIn(shape.Errors.Routes, path+"/errors", above); err != nil {
			return nil, err
		}
	case h.name == "stepgate":
		if h.gate, err = t.loadGate(raw); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		var rules struct {
			Rules []*ruleNode `json:"rules"`
		}
		if err := json.Unmarshal(raw, &rules); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		h.rules = rules.Rules
		t.site.gates = append(t.site.gates, h)
	case slices.Contains(changing, h.name):
		module, err := t.ctx.LoadModuleByID("http.handlers."+h.name, withoutName(raw))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		t.loaded[h], _ = module.(caddyhttp.MiddlewareHandler)
	}
	return h, nil
}

// withoutName takes out the member that names the module, as Caddy does before it loads one.
func withoutName(raw json.RawMessage) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return raw
	}
	delete(members, "handler")
	text, err := json.Marshal(members)
	if err != nil {
		return raw
	}
	return text
}

// loadGate provisions a gate as Caddy would, but that its rules ask where they depend on what nobody knows offline.
func (t *treeReader) loadGate(raw json.RawMessage) (*Handler, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	delete(members, "handler")
	var rules []map[string]json.RawMessage
	if json.Unmarshal(orNull(members["rules"]), &rules) == nil {
		for _, rule := range rules {
			if rule == nil {
				continue // provisioning says what is wrong
			}
			var sets []caddy.ModuleMap
			if json.Unmarshal(orNull(rule["match"]), &sets) != nil {
				continue
			}
			for i := range sets {
				if err := checkSet(sets[i]); err != nil {
					return nil, err
				}
				stubbed, err := t.stub(sets[i])
				if err != nil {
					return nil, err
				}
				sets[i] = stubbed
			}
			if len(sets) > 0 {
				rule["match"], _ = json.Marshal(sets)
			}
		}
		if len(rules) > 0 {
			members["rules"], _ = json.Marshal(rules)
		}
	}
	text, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	module, err := t.ctx.LoadModuleByID("http.handlers.stepgate", text)
	if err != nil {
		return nil, err
	}
	return module.(*Handler), nil
}
