package caddymodule

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/uuid"

	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/ceremony/metadata"
)

// Attestation says which authenticators reach the level `attested`: those whose certificate chains to a root that the
// metadata names for their model. It makes registrations ask for attestation, which browsers may ask people about.
//
// The metadata is loaded in the background, after the gateway has started, and kept up to date. As long as there is none,
// no passkey reaches the level.
type Attestation struct {
	// Where the metadata is: an https address, or the file that somebody puts it in. A file is read again when it changes,
	// an address every day; what was fetched is kept in Caddy's data directory for the next start. Global placeholders such
	// as {env.*} are accepted. Default: `https://mds3.fidoalliance.org/`.
	Metadata string `json:"metadata,omitempty"`

	// The certificate that whoever signs the metadata chains to, as a PEM file. It must certify nothing else. Global
	// placeholders are accepted. Default: that of the FIDO Alliance's service.
	Root string `json:"root,omitempty"`

	// The models that may reach the level, by AAGUID. Default: all that the metadata knows.
	Allow []string `json:"allow,omitempty"`

	// The models that never do, by AAGUID. Default: none.
	Deny []string `json:"deny,omitempty"`
}

// defaultMetadata is the FIDO Alliance's service.
const defaultMetadata = "https://mds3.fidoalliance.org/"

// check looks at each option, and at how they go together.
func (a *Attestation) check() error {
	if err := checkMetadata(orDefault(a.Metadata, defaultMetadata)); err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if a.Root != "" && a.Metadata == "" {
		return errors.New("root: the metadata is the FIDO Alliance's, which another root does not sign: say with `metadata` whose it is, or leave the root out")
	}
	for word, list := range map[string][]string{"allow": a.Allow, "deny": a.Deny} {
		for i, aaguid := range list {
			if err := checkAAGUID(aaguid); err != nil {
				return fmt.Errorf("%s: %w", word, err)
			}
			if slices.Contains(list[:i], aaguid) {
				return fmt.Errorf("%s: %s is listed twice", word, aaguid)
			}
		}
	}
	for _, aaguid := range a.Allow {
		if slices.Contains(a.Deny, aaguid) {
			return fmt.Errorf("deny: %s is in allow too", aaguid)
		}
	}
	return nil
}

// checkMetadata accepts a file's path or an https address. The address is logged: it is no place for secrets.
func checkMetadata(place string) error {
	if !strings.Contains(place, "://") {
		return nil
	}
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Fragment != "" {
		return errors.New("must be a file or an https address")
	}
	if u.User != nil {
		return errors.New("must hold no user or password: the address is logged")
	}
	return nil
}

func checkAAGUID(text string) error {
	parsed, err := uuid.Parse(text)
	if err != nil || parsed.String() != text {
		return fmt.Errorf("%q is no AAGUID as the metadata writes it, for example ee882879-721c-4913-9775-3dfcce97072a", text)
	}
	if parsed == uuid.Nil {
		return errors.New("the AAGUID of zeros is that of authenticators which do not say what they are: they never reach the level")
	}
	return nil
}

// provisionAttestation resolves the placeholders and returns what ceremonies need. It reads nothing.
func (a *App) provisionAttestation() error {
	if a.Attestation == nil {
		return nil
	}
	if err := a.Attestation.check(); err != nil {
		return fmt.Errorf("attestation: %w", err)
	}
	replacer := caddy.NewReplacer()
	var err error
	if a.metadata.place, err = replacer.ReplaceOrErr(orDefault(a.Attestation.Metadata, defaultMetadata), true, true); err != nil {
		return fmt.Errorf("attestation: metadata: %w", err)
	}
	if a.metadata.root, err = replacer.ReplaceOrErr(a.Attestation.Root, true, true); err != nil {
		return fmt.Errorf("attestation: root: %w", err)
	}
	if err := checkMetadata(a.metadata.place); err != nil {
		return fmt.Errorf("attestation: metadata: %w", err)
	}
	a.service.Attestation = &ceremony.Attestation{
		Metadata: a.metadata.current, Allow: aaguids(a.Attestation.Allow), Deny: aaguids(a.Attestation.Deny),
	}
	return nil
}

func aaguids(list []string) (parsed [][16]byte) {
	for _, text := range list {
		parsed = append(parsed, uuid.MustParse(text)) // checked
	}
	return parsed
}

// checkAttested refuses a level that nothing could ever reach.
func (a *App) checkAttested() error {
	if a.Attestation == nil {
		return errors.New("level attested needs to know which makers of authenticators to trust: add `attestation` to the global option stepgate")
	}
	return nil
}

// heldMetadata is the metadata of one configuration: where it comes from, and who holds it.
type heldMetadata struct {
	place, root string // as configured, without placeholders
	holder      *metadata.Holder
	release     func() error
}

// openMetadata holds the metadata that this process has. A reload that changes nothing about it goes on with what is
// loaded: else the level would be unreachable after each, until it is fetched again.
var openMetadata = caddy.NewUsagePool()

// runningMetadata is a holder that keeps itself up to date.
type runningMetadata struct {
	holder *metadata.Holder
	stop   context.CancelFunc
	ended  chan struct{}
}

// farewell is how long the end of the loading is waited for. It comes at once, unless a file system hangs.
const farewell = 2 * time.Second

// Destruct ends the loading once the last configuration that used it is gone. It does not wait for a file system that
// hangs: the next configuration waits for this. What is left behind writes its cache at most.
func (m *runningMetadata) Destruct() error {
	metrics.metadata.drop(m.holder)
	m.stop()
	select {
	case <-m.ended:
	case <-time.After(farewell):
	}
	return nil
}

// open begins to load the metadata, or joins whoever does. It does not wait.
func (m *heldMetadata) open() error {
	key := m.place + "\x00" + m.root
	value, _, err := openMetadata.LoadOrNew(key, func() (caddy.Destructor, error) {
		holder := metadata.NewHolder(m.config())
		ctx, stop := context.WithCancel(context.Background())
		running := &runningMetadata{holder, stop, make(chan struct{})}
		metrics.metadata.add(holder)
		go func() {
			defer close(running.ended)
			holder.Run(ctx)
		}()
		return running, nil
	})
	if err != nil {
		return err
	}
	m.holder = value.(*runningMetadata).holder
	m.release = func() error {
		_, err := openMetadata.Delete(key)
		return err
	}
	return nil
}

func (m *heldMetadata) config() metadata.Config {
	config := metadata.Config{Signer: signerOf(m.root), Count: metrics.loaded, Logger: liveLogger(new(App).CaddyModule()).Named("metadata")}
	if !strings.Contains(m.place, "://") {
		config.Source = metadata.NewFile(m.place, m.root)
		return config
	}
	config.Source = metadata.NewURL(m.place, http.DefaultTransport)
	name := sha256.Sum256([]byte(m.place))
	config.Cache = filepath.Join(caddy.AppDataDir(), "stepgate", "metadata-"+hex.EncodeToString(name[:8])+".jwt")
	return config
}

// signerOf returns who says whose signature the metadata needs. It holds nothing but the path: the loading outlives the
// configuration that began it.
func signerOf(root string) func() (metadata.Signer, error) {
	return func() (metadata.Signer, error) {
		if root == "" {
			return metadata.FIDO(), nil
		}
		certificate, err := readRoot(root)
		return metadata.Signer{Root: certificate}, err
	}
}

// readRoot reads a PEM file that holds one certificate.
func readRoot(path string) (*x509.Certificate, error) {
	if info, err := os.Stat(path); err != nil { // before it is opened: opening a pipe waits for whoever writes
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", path)
	}
	file, err := os.Open(path) // #nosec G304 -- the configured file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s must hold one certificate in PEM, and nothing else", path)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return root, nil
}

// current returns what is in force; nil before it is opened too.
func (m *heldMetadata) current() *metadata.Snapshot {
	if m.holder == nil {
		return nil
	}
	return m.holder.Current()
}

// close gives back what open acquired.
func (m *heldMetadata) close() error {
	if m.release == nil {
		return nil
	}
	release := m.release
	m.release = nil
	return release()
}

// unmarshalAttestation reads the option `attestation` from Caddyfile tokens. Syntax:
//
//	attestation {
//		metadata <file or https address>
//		root     <PEM file>
//		allow    <aaguid...>
//		deny     <aaguid...>
//	}
func (a *App) unmarshalAttestation(d *caddyfile.Dispenser) error {
	if err := noArgs(d); err != nil {
		return err
	}
	attestation := new(Attestation)
	seen := words{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if err := seen.once(d, word); err != nil {
			return err
		}
		var err error
		switch word {
		case "metadata":
			err = oneArg(d, &attestation.Metadata, checkMetadata)
		case "root":
			err = oneArg(d, &attestation.Root)
		case "allow":
			err = someArgs(d, &attestation.Allow, checkAAGUID)
		case "deny":
			err = someArgs(d, &attestation.Deny, checkAAGUID)
		default:
			err = d.Errf("unknown option %q of attestation: it has metadata, root, allow and deny", word)
		}
		if err != nil {
			return err
		}
	}
	if err := attestation.check(); err != nil {
		return d.WrapErr(fmt.Errorf("attestation: %w", err))
	}
	a.Attestation = attestation
	return nil
}
