// Package gate judges each request in front of the upstream, and serves Stepgate's own pages and JSON API. It is the
// only place that knows status codes, renders errors, or sets a cookie.
//
// What it guarantees for a protected route: the request that reaches the upstream is the one that was judged, by a user
// whom the first factor named, on an origin of the configuration, with a grant that its rule's demand accepts now. Any
// doubt, and any failure of the store, ends in a refusal that the gate writes itself: returned as an error it would run
// Caddy's error routes on the original request, without the gate. What a client sends decides nothing but which sealed
// values are opened; see [Gate.Serve] for the order of the checks.
package gate

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/stepgate/stepgate/internal/audit"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/policy"
)

// StoreBudget is how long all store calls of one request may take together, with their retries. It begins once the body
// has arrived.
const StoreBudget = 2500 * time.Millisecond

// Config is what a gate works from. It is read-only once given to [New]. Zero values are the strictest.
type Config struct {
	RPID    string   // for telling browsers' password managers whose passkeys these are, and administrators which line an unknown host belongs into
	RPName  string   // shown on the pages
	Origins []string // those within the RP ID and the related ones; canonical: scheme, host, and port unless it is the scheme's own

	Path            string      // the gateway's prefix; default /.stepgate
	Rules           []Route     // tried in order; the first that matches decides
	Default         policy.Rule // for what no rule matches; never open
	LetDebatable    bool        // ambiguous_paths strictest
	BindSession     bool        // a request without a first-factor session is refused
	FoldUser        bool        // user names are compared without regard to case
	IdentityHeaders []string    // request headers that the user and session come from

	BodyTimeout  time.Duration // how long a body of the gateway's own API may take to arrive; default 10s
	ChallengeTTL time.Duration // shown to the pages
	MaxPasskeys  int           // shown to the pages
	InviteOnly   bool          // shown to the pages: a first passkey needs an invitation
	KeepLast     bool          // shown to the pages: the only passkey can't be removed
	NoRecovery   bool          // shown to the pages: there are no recovery codes
	SignInWithin time.Duration // shown to the pages: how long after the sign-in a first passkey may be registered; 0: always

	// Longest returns the longest maximum age of any block that shares this one's grants: how long a proof can be of use.
	// Nil means this block is alone.
	Longest func() time.Duration

	// Backend returns what opens with the store. An error means that it is not open: protected routes answer 503.
	Backend func() (*Backend, error)
	Audit   audit.Recorder
	Meter   Meter       // default: counts nothing
	Judging Judging     // default: nobody is told
	Logger  *zap.Logger // for failures; may be nil
	Now     func() time.Time
}

// Route is a rule and what it matches.
type Route struct {
	policy.Rule

	// Paths are what is known of the paths that the rule matches: in lower case, whole, or with one `*` at the end for
	// whatever follows. No path that fits none of them may match. Nil: nothing is known, ask Match.
	Paths []string

	// Match reports whether the rule matches a request whose path fits Paths. Nil: it does. It must not keep or change the request.
	Match func(*http.Request) (bool, error)
}

// Backend is what the gate shares with every other gate of one relying party. Safe for concurrent use.
type Backend struct {
	Ceremonies Ceremonies
	Grants     *grant.Sealer
	Demands    *grant.Sealer
	Browsers   *grant.Sealer
	Views      *Views
	Limiter    *Limiter

	// OneClock says that Views go by the very clock of [Config.Now], so that one reading does for a judgement.
	OneClock bool
}

// Ceremonies is what the gate needs of package ceremony. Errors wrap a [passkey.Refusal].
type Ceremonies interface {
	Start(ctx context.Context, party ceremony.Party, purpose ceremony.Purpose) (ceremony.Options, error)
	Finish(ctx context.Context, party ceremony.Party, purpose ceremony.Purpose, credential []byte) (ceremony.Proof, error)
	StartRegistration(ctx context.Context, party ceremony.Party, name string, authorization []byte) (ceremony.Begun, error)
	StartInvited(ctx context.Context, party ceremony.Party, name, invitation string) (ceremony.Options, error)
	StartRecovered(ctx context.Context, party ceremony.Party, name, code string) (ceremony.Options, error)
	MakeCodes(ctx context.Context, party ceremony.Party, authorization []byte) (ceremony.MadeCodes, error)
	FinishRegistration(ctx context.Context, party ceremony.Party, naming ceremony.Naming, credential []byte) (ceremony.Registered, error)
	Rename(ctx context.Context, user, shortID, name string) (passkey.Passkey, error)
	Remove(ctx context.Context, party ceremony.Party, shortID string, authorization []byte, last bool) (ceremony.Removed, error)
	Account(ctx context.Context, user string) (passkey.Account, error)
	Reach(p passkey.Passkey) passkey.Level // what a ceremony with it would prove now; asks nobody
	Revoke(ctx context.Context, user string) error
}

// Request is what the edge knows of a request beyond the request itself. Nothing in it is taken from a client's word:
// the user and session come from the configured first factor, the address from Caddy's trusted_proxies logic.
type Request struct {
	User     string   // who the first factor says it is; "" for nobody, or for several at once
	Session  string   // the first-factor session; ignored unless BindSession
	SignedIn string   // when it says that they signed in; "" where it does not, or several times. Ignored unless SignInWithin
	Original *url.URL // as the client sent it, before any rewrite
	Peer     Peer     // nil: an unknown one
	IDs      IDSource // may be nil
}

// Peer is who is at the other end of a request's connection. It is asked only where it matters: most requests don't need it.
type Peer interface {
	Client() string // the client's address
	Trusted() bool  // the connection comes from one of trusted_proxies
}

func (in *Request) client() string {
	if in.Peer == nil {
		return ""
	}
	return in.Peer.Client()
}

func (in *Request) trusted() bool { return in.Peer != nil && in.Peer.Trusted() }

// IDSource makes a request's id when a log line or an answer needs one: most requests need none.
type IDSource interface{ RequestID() string }

func (in *Request) id() string {
	if in.IDs == nil {
		return ""
	}
	return in.IDs.RequestID()
}

// Passed is what the gate knows of a request that it let through to a protected route; empty on an open one, and where it
// let nothing through.
type Passed struct {
	values [4]string // of the headers, in their order
	would  string
}

// User returns the user, as a header can hold it.
func (p *Passed) User() string { return p.values[0] }

// Passkey returns the short id of the passkey.
func (p *Passed) Passkey() string { return p.values[1] }

// Level returns what the passkey proved.
func (p *Passed) Level() string { return p.values[2] }

// Time returns when the passkey was used, RFC 3339.
func (p *Passed) Time() string { return p.values[3] }

// Would returns what an enforced rule would have done, where the rule is not enforced: allow, step_up, or the code of a
// refusal. Empty where it is enforced.
func (p *Passed) Would() string { return p.would }

// Gate judges requests of one site. Safe for concurrent use.
type Gate struct {
	cfg       Config
	origins   map[string]*origin // by lower-case Host
	rules     *index             // of cfg.Rules
	hasLocal  bool               // some origin is http://localhost
	strictest policy.Rule        // of the whole block
	reporting bool               // every rule merely reports: nobody is stopped, whatever is wrong
	longest   time.Duration      // the longest maximum age of this block
	mute      atomic.Bool        // the audit log does not take what it must
}

// New checks a configuration and returns its gate.
func New(cfg Config) (*Gate, error) {
	if cfg.Path == "" {
		cfg.Path = DefaultPath
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.Meter == nil {
		cfg.Meter = noMeter{}
	}
	if cfg.Backend == nil || cfg.Audit == nil {
		return nil, errors.New("gate: no backend or audit recorder given")
	}
	if err := CheckPath(cfg.Path); err != nil {
		return nil, err
	}
	g := &Gate{cfg: cfg, origins: map[string]*origin{}, rules: newIndex(cfg.Rules)}
	for _, text := range cfg.Origins {
		o, err := parseOrigin(text)
		if err != nil {
			return nil, err
		}
		for _, host := range o.hosts {
			g.origins[host] = o
		}
		g.hasLocal = g.hasLocal || !o.secure
	}
	if cfg.Default.Open || !cfg.Default.Demand.Valid() {
		return nil, errors.New("gate: what no rule matches must be protected")
	}
	g.strictest, g.longest = cfg.Default, cfg.Default.Demand.MaxAge
	for _, route := range cfg.Rules {
		if route.Paths == nil && route.Match == nil {
			return nil, errors.New("gate: rule " + route.Name + " says nothing of what it matches")
		}
		if route.Open {
			continue
		}
		if !route.Demand.Valid() {
			return nil, errors.New("gate: rule " + route.Name + " demands nothing")
		}
		nameless := route.Rule // names of a thousand rules, put together a thousand times, are a fifth of a reload
		nameless.Name, g.strictest.Name = "", ""
		g.strictest = g.strictest.Strictest(nameless)
		g.longest = max(g.longest, route.Demand.MaxAge)
	}
	g.strictest.Name = "strictest"
	g.reporting = g.strictest.Mode == policy.Report
	return g, nil
}

// LongestAge returns the longest maximum age that this block demands anywhere.
func (g *Gate) LongestAge() time.Duration { return g.longest }

// keep returns how long a proof can be of use.
func (g *Gate) keep() time.Duration {
	if g.cfg.Longest == nil {
		return g.longest
	}
	return max(g.longest, g.cfg.Longest())
}

// DefaultPath is the gateway's own prefix unless configured otherwise.
const DefaultPath = "/.stepgate"

// CheckPath tells whether a prefix can be the gateway's own.
func CheckPath(path string) error {
	if len(path) < 2 || strings.HasSuffix(path, "/") || readPath(path) != clear || strings.ContainsAny(path, "%*{}?# ") {
		return errors.New("path must begin with a slash, not end with one, and hold plain characters only, for example /.stepgate")
	}
	return nil
}

// Serve judges a request. It either returns true, and the request goes to the next handler, or has written the answer.
//
// In this order: what the client must not send is taken out; method, upgrade and path must be unambiguous; the
// gateway's own addresses are served; an open rule lets the rest of the checks be; then origin, user and session, and
// the grant against the rule's demand.
//
// The request's headers keep parts of what it returns, so nothing of it is used again.
func (g *Gate) Serve(w http.ResponseWriter, r *http.Request, in *Request) (*Passed, bool) {
	x := &exchange{w: w, r: r, in: *in, rule: &noRule}
	ok := g.serve(x)
	g.count(x, ok)
	return &x.passed, ok
}

func (g *Gate) serve(x *exchange) bool {
	r, in := x.r, &x.in
	o, originRefusal := g.originOf(r, in)
	x.origin = o
	g.scrub(x, o == nil || o.secure)

	reading, refusal := checkRequest(r, in.Original)
	if refusal != "" || reading == ambiguous || reading == debatable && !g.cfg.LetDebatable {
		if refusal == "" {
			refusal = passkey.PathAmbiguous
		}
		return g.refuseUnlessReporting(x, refusal)
	}
	if looksWellKnown(in.Original.Path) {
		return g.refuseUnlessReporting(x, passkey.PathAmbiguous)
	}
	if rest, own := g.ownPath(in.Original.Path); own {
		x.own = true
		g.serveOwn(x, rest, originRefusal)
		return false
	}

	rule, err := g.route(r, in.Original, reading)
	if err != nil {
		g.cfg.Logger.Error("matching rules", zap.Error(err))
		g.refuse(x, passkey.Internal)
		return false
	}
	x.rule = rule
	if rule.Open {
		return true
	}
	return g.protect(x, originRefusal)
}

// Refuse answers a request that the edge itself can't let through, and records why.
func (g *Gate) Refuse(w http.ResponseWriter, r *http.Request, in *Request, refusal passkey.Refusal) {
	x := &exchange{w: w, r: r, in: *in, rule: &noRule}
	g.refuse(x, refusal)
	g.count(x, false)
}

var noRule policy.Rule // none was looked for yet

// exchange is one request under judgement. All that a request needs is in it, so that it costs one allocation.
type exchange struct {
	w       http.ResponseWriter
	r       *http.Request
	in      Request
	passed  Passed
	cookie  [1]string // what is left of the Cookie header, for the next handler
	cookies cookies
	origin  *origin
	rule    *policy.Rule // never nil, never changed

	user    string          // once known
	session passkey.Digest  // of the first-factor session
	store   context.Context // bounds the store calls; nil where Views alone does

	wait    time.Duration   // of a rate limit: until it may come again
	own     bool            // it is for one of the gateway's own addresses
	lacking bool            // it must step up: refused is what was wrong with its grant
	refused passkey.Refusal // why it was refused; "" if it was not
	spared  bool            // all the same it was let through
}

// context returns the context for store calls.
func (x *exchange) context() context.Context {
	if x.store != nil {
		return x.store
	}
	return x.r.Context()
}
