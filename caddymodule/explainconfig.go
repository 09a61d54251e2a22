package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/spf13/cobra"

	"github.com/stepgate/stepgate/internal/gate"
	"github.com/stepgate/stepgate/internal/grant"
)

// `explain` and `check` look at a configuration without serving it. Of its modules they provision only those that say what
// a request meets: the relying party, the gates with their rules, Caddy's matchers, and the handlers that change a request.
// No listener, certificate, log file, health check or store is touched, and no other app needs to be built in.

// settings is a configuration as `explain` and `check` read it.
type settings struct {
	file      string
	ctx       caddy.Context
	app       *App
	servers   []*server
	httpPort  int
	httpsPort int
	keyless   []string // placeholders of grant_keys that hold nothing here
	loaded    map[*handlerNode]caddyhttp.MiddlewareHandler
	current   *run                   // the one that is under way
	stubs     map[string]*matcherSet // what stands for questions in the rules of gates
}

// server is an HTTP server of the configuration.
type server struct {
	name           string
	ports          []int
	listen         []string
	secure         bool // speaks TLS
	redirects      bool // Caddy redirects plain http to it
	trustedProxies bool
	clientAuth     bool // asks clients for certificates
	routes, errors []*routeNode
	named          map[string]*routeNode
	sites          []*site
}

// site is what a Caddyfile calls one: the routes of some hosts. No hosts means any.
type site struct {
	server *server
	hosts  []string
	path   string // JSON path
	place  place
	routes []*routeNode
	gates  []*handlerNode
}

func (s *site) name() string {
	name := strings.Join(s.hosts, ", ")
	if name == "" {
		name = "any host"
	}
	if len(s.server.listen) > 0 {
		name += " on " + strings.Join(s.server.listen, ", ")
	}
	return name
}

// errors returns the error routes of the site's hosts.
func (s *site) errors() []*routeNode {
	return filter(s.server.errors, func(route *routeNode) bool {
		hosts := hostsOf(route.sets)
		return len(hosts) == 0 || slices.ContainsFunc(hosts, func(host string) bool { return slices.Contains(s.hosts, host) })
	})
}

type routeNode struct {
	group    string
	sets     []caddy.ModuleMap
	terminal bool
	handlers []*handlerNode
	matchers []*matcherSet
}

type handlerNode struct {
	name   string // of Caddy's module
	raw    json.RawMessage
	path   string // JSON path
	routes []*routeNode
	errors []*routeNode
	site   *site
	above  []string // paths of the handle blocks around it
	gate   *Handler
	place  place
	called string      // how the Caddyfile calls it
	rules  []*ruleNode // of a gate
}

// ruleNode is a gate's rule as it was configured.
type ruleNode struct {
	Action string            `json:"action"`
	Match  []caddy.ModuleMap `json:"match"`
	MaxAge *caddy.Duration   `json:"max_age"`
	Level  string            `json:"level"`
	Mode   string            `json:"mode"`
	From   string            `json:"enforce_from"`
	place  place
	words  string
}

type rawRoute struct {
	Group    string            `json:"group"`
	Match    []caddy.ModuleMap `json:"match"`
	Handle   []json.RawMessage `json:"handle"`
	Terminal bool              `json:"terminal"`
}

type rawErrors struct {
	Routes []rawRoute `json:"routes"`
}

type rawServer struct {
	Listen     []string                  `json:"listen"`
	Routes     []rawRoute                `json:"routes"`
	Errors     rawErrors                 `json:"errors"`
	Named      map[string]rawRoute       `json:"named_routes"`
	TLS        []json.RawMessage         `json:"tls_connection_policies"`
	AutoHTTPS  caddyhttp.AutoHTTPSConfig `json:"-"`
	AutoRaw    json.RawMessage           `json:"automatic_https"`
	TrustedRaw json.RawMessage           `json:"trusted_proxies"`
	Unix       bool                      `json:"trusted_proxies_unix"`
}

// readSettings reads the configuration that a command's flags name.
func readSettings(cmd *cobra.Command) (*settings, error) {
	// Caddy logs how it reads a configuration, and a gate each request it judges: nobody asked for that here.
	quiet := &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "FATAL"}}}}
	if _, err := caddy.ProvisionContext(&caddy.Config{Logging: quiet}); err != nil {
		return nil, err
	}
	file, _ := cmd.Flags().GetString("config")
	adapter, _ := cmd.Flags().GetString("adapter")
	if file == "-" {
		return nil, errors.New("the configuration must be a file: standard input can't be read twice")
	}
	text, file, adapter, err := caddycmd.LoadConfig(file, adapter)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, errors.New("no configuration: name the gateway's with --config, or go where its Caddyfile is")
	}
	s, err := newSettings(text, quiet)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	s.file = file
	if adapter == "caddyfile" {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		s.findPlaces(source)
	}
	return s, nil
}

func newSettings(text []byte, logging *caddy.Logging) (*settings, error) {
	if _, err := configuredApp(text); err != nil {
		return nil, err
	}
	var config struct {
		Apps struct {
			Stepgate map[string]json.RawMessage `json:"stepgate"`
			HTTP     struct {
				HTTPPort  int                  `json:"http_port"`
				HTTPSPort int                  `json:"https_port"`
				Servers   map[string]rawServer `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	s := &settings{
		httpPort: orPort(config.Apps.HTTP.HTTPPort, 80), httpsPort: orPort(config.Apps.HTTP.HTTPSPort, 443),
		loaded: map[*handlerNode]caddyhttp.MiddlewareHandler{}, stubs: map[string]*matcherSet{},
	}
	if err := s.provisionApp(config.Apps.Stepgate, logging); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(config.Apps.HTTP.Servers)) {
		server, err := s.readServer(name, config.Apps.HTTP.Servers[name])
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", name, err)
		}
		s.servers = append(s.servers, server)
	}
	return s, nil
}

func orPort(port, otherwise int) int {
	if port == 0 {
		return otherwise
	}
	return port
}

// standInKey is the environment variable that holds a key made for one command. The real ones need not be where a
// configuration is looked at, and nothing is sealed that leaves this process.
const standInKey = "STEPGATE_STAND_IN_GRANT_KEY"

func (s *settings) provisionApp(raw map[string]json.RawMessage, logging *caddy.Logging) error {
	var keys []string
	if err := json.Unmarshal(orNull(raw["grant_keys"]), &keys); err != nil {
		return fmt.Errorf("stepgate: grant_keys: %w", err)
	}
	var texts []string
	for i, placeholder := range keys {
		if err := checkKeyPlaceholder(placeholder); err != nil {
			return fmt.Errorf("stepgate: grant_keys, number %d: %w", i+1, err)
		}
		held, err := caddy.NewReplacer().ReplaceOrErr(placeholder, true, true)
		if err != nil {
			s.keyless = append(s.keyless, placeholder)
			continue
		}
		texts = append(texts, held)
	}
	if len(texts) > 0 {
		if _, err := grant.ParseKeys(texts...); err != nil {
			return fmt.Errorf("stepgate: grant_keys: %w", err)
		}
	}
	standIn := grant.NewKey()
	if len(keys) > 0 {
		raw["grant_keys"] = json.RawMessage(`["{env.` + standInKey + `}"]`)
		if err := os.Setenv(standInKey, standIn); err != nil {
			return err
		}
		defer os.Unsetenv(standInKey)
	}
	app, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	s.ctx, err = caddy.ProvisionContext(&caddy.Config{Logging: logging, AppsRaw: caddy.ModuleMap{"stepgate": app}})
	if err != nil {
		return err
	}
	module, err := s.ctx.App("stepgate")
	if err != nil {
		return err
	}
	s.app = module.(*App)
	backend, err := newStandIn(standIn, s.app.RPID, s.enrolled)
	if err != nil {
		return err
	}
	s.app.open = func() (*gate.Backend, error) { return backend, nil }
	return nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

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
