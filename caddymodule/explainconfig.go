package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
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

// quieten turns Caddy's log off. Caddy logs how it reads a configuration, and a gate each request it judges: nobody asked
// for that where a command looks at something.
func quieten() (*caddy.Logging, error) {
	quiet := &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "FATAL"}}}}
	_, err := caddy.ProvisionContext(&caddy.Config{Logging: quiet})
	return quiet, err
}

// readSettings reads the configuration that a command's flags name.
func readSettings(cmd *cobra.Command) (*settings, error) {
	quiet, err := quieten()
	if err != nil {
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
		source, err := os.ReadFile(file) // #nosec G304 -- the administrator names the file
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
