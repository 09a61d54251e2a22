package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
	"github.com/stepgate/stepgate/internal/bench/sample"
	"github.com/stepgate/stepgate/internal/grant"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/boltstore"
)

// crowd is many users with a passkey and a grant each, without the ceremonies that these took: their accounts are put into
// the store's file, and their grants are sealed with the key beside it.
type crowd struct {
	names, grants []string
}

// seed makes a crowd for a site that does not run. For one without Stepgate the grants are texts of the same length.
func (s *site) seed(ctx context.Context, n int) (crowd, error) {
	if !s.gated {
		people := crowd{}
		for i := range n {
			people.names = append(people.names, userName(i))
			people.grants = append(people.grants, strings.Repeat("A", 216))
		}
		return people, nil
	}
	text := grant.NewKey()
	if err := os.MkdirAll(filepath.Dir(s.store()), 0o700); err != nil {
		return crowd{}, err
	}
	if err := os.WriteFile(strings.TrimSuffix(s.store(), ".db")+".keys", []byte(text+"\n"), 0o600); err != nil {
		return crowd{}, err
	}
	keys, err := grant.ParseKeys(text)
	if err != nil {
		return crowd{}, err
	}
	const rpID = "localhost"
	sealer, err := keys.Sealer(grant.ForGrant, rpID)
	if err != nil {
		return crowd{}, err
	}
	db, err := boltstore.Open(s.store(), boltstore.Options{NoSync: true})
	if err != nil {
		return crowd{}, err
	}
	people, err := s.enrol(ctx, db.For(rpID), sealer, n)
	return people, errors.Join(err, db.Close())
}

func (s *site) enrol(ctx context.Context, store *boltstore.Store, sealer *grant.Sealer, n int) (people crowd, _ error) {
	now := time.Now()
	for i := range n {
		key := passkey.Passkey{ID: random(32), PublicKey: random(77), Name: "Key", AttestationFormat: "none", CreatedAt: now}
		user := passkey.User{
			Name: userName(i), Version: 1, Handle: random(passkey.HandleLength), Epoch: passkey.Epoch(random(16)),
			Passkeys: []passkey.Ref{{ID: key.ID, Folded: passkey.FoldName(key.Name)}},
		}
		if err := store.Import(ctx, passkey.Account{User: user, Passkeys: []passkey.Passkey{key}}); err != nil {
			return crowd{}, err
		}
		id := sha256.Sum256(key.ID)
		g := grant.Grant{User: passkey.DigestOf(user.Name), Origin: passkey.DigestOf(s.origin()), Epoch: user.Epoch}
		g.Add(grant.Proof{Passkey: grant.PasskeyID(id[:16]), Level: passkey.Verified, At: now.UnixNano()})
		people.names, people.grants = append(people.names, user.Name), append(people.grants, g.Seal(sealer))
	}
	return people, nil
}

func userName(i int) string { return fmt.Sprintf("person-%06d@example.com", i) }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: it aborts the process instead
	return b
}

// visit sends n pairs of requests, to an open route and to a protected one, each pair by the next of the crowd. Every one must
// get through.
func (c crowd) visit(ctx context.Context, r *running, n int) error {
	return c.each(n, func(client *http.Client, i int) error {
		for _, path := range []string{"/open", "/area0/x"} {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.origin()+path, nil)
			if err != nil {
				return err
			}
			request.Header.Set("X-User", c.names[i])
			request.Header.Set("Cookie", "stepgate="+c.grants[i])
			body, err := expect(client, request, http.StatusOK)
			if err != nil {
				return err
			}
			if string(body) != answer {
				return fmt.Errorf("GET %s: %q", path, body)
			}
		}
		return nil
	})
}

// begin lets n of the crowd start a ceremony each, in a browser of their own, at an address of their own.
func (c crowd) begin(ctx context.Context, r *running, n int) error {
	return c.each(n, func(client *http.Client, i int) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.origin()+"/.stepgate/challenge/options", strings.NewReader(`{"return_to":"/area0/x"}`))
		if err != nil {
			return err
		}
		request.Header.Set("X-User", c.names[i])
		request.Header.Set("X-Forwarded-For", addressOf(i))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Origin", r.origin())
		body, err := expect(client, request, http.StatusOK)
		if err == nil && !bytes.Contains(body, []byte(`"publicKey"`)) {
			err = fmt.Errorf("the start of a ceremony was answered %q", body)
		}
		return err
	})
}

// addressOf is where somebody of a crowd comes from.
func addressOf(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16&0xff, i>>8&0xff, i&0xff) }

// expect sends a request and returns the body of an answer with this status.
func expect(client *http.Client, request *http.Request, status int) ([]byte, error) {
	got, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err == nil && got.StatusCode != status {
		err = fmt.Errorf("%s %s: status %d, want %d: %s", request.Method, request.URL.Path, got.StatusCode, status, body)
	}
	return body, err
}

// each calls visit n times, with the index of somebody of the crowd, from a few connections that are kept.
func (c crowd) each(n int, visit func(client *http.Client, i int) error) error {
	const connections = 8
	transport := &http.Transport{MaxIdleConnsPerHost: connections, DialContext: loopback}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience, CheckRedirect: stay}
	errs := make([]error, connections)
	var wait sync.WaitGroup
	for worker := range connections {
		wait.Go(func() {
			for i := worker; i < n && errs[worker] == nil; i += connections {
				errs[worker] = visit(client, i%len(c.names))
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// loopback connects to this machine, whatever the name.
func loopback(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

// stay follows no redirect.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// crowds measures what many users leave in memory: those whose grants were judged, and those who started a ceremony.
func crowds(ctx context.Context, l *lab, plain, ours program) (report.Section, error) {
	n, starts := pick(l, 100_000, 2_000), pick(l, 10_000, 500) // a start waits for the disk
	variants := []struct {
		program
		name    string
		options []string
	}{{plain, plain.name, nil}, {ours, ours.name, nil}, {ours, ours.name + ", `revocation_lag 1m`", []string{"revocation_lag 1m"}}}
	held := make([][][]float64, len(variants)) // for each a line for each round
	if err := l.inTurns(fmt.Sprintf("%d users", n), pick(l, 3, 1), len(variants), func(i int) error {
		found, err := weighCrowd(ctx, l, variants[i].program, variants[i].options, n, starts)
		if err != nil {
			return fmt.Errorf("%s: %w", variants[i].name, err)
		}
		held[i] = append(held[i], found)
		return nil
	}); err != nil {
		return report.Section{}, err
	}
	many := report.Number(float64(n))
	table := report.Table{Columns: []string{"anonymous memory, MiB", "idle", "after requests of " + many + " users", "more than Caddy's, bytes for each user",
		fmt.Sprintf("and a ceremony begun by %s of them", report.Number(float64(starts)))}}
	for i, of := range variants {
		row := []string{of.name}
		for k := range 3 {
			if k == 2 && of.gated || k < 2 {
				var values []float64
				for _, found := range held[i] {
					values = append(values, found[k])
				}
				summary, err := sample.Of(values)
				if err != nil {
					return report.Section{}, err
				}
				row = append(row, report.Spread(summary.Scale(mebibyte)))
			} else {
				row = append(row, "–")
			}
			if k == 1 {
				text, err := eachMore(held[i], held[0], n)
				if err != nil {
					return report.Section{}, err
				}
				row = append(row, text)
			}
		}
		table.Rows = append(table.Rows, row)
	}
	return report.Section{Blocks: []report.Block{report.Text(`
What a gateway knows of a user (their passkeys, and the grant that was let pass last) is of use for one ` + "`revocation_lag`" + `, by default five
seconds, and goes when others come later; with one minute, all of these are held at once. What limits ceremonies is held for the
people of the last seconds. Each user has one passkey, comes from an address of their own, and begins the ceremony in a new browser. Caddy
without Stepgate gets the same requests.`), table}}, nil
}

// eachMore says how much more the requests of n users left than they left the plain program.
func eachMore(held, plain [][]float64, n int) (string, error) {
	if &held[0] == &plain[0] {
		return "–", nil
	}
	var each []float64
	for round := range held {
		each = append(each, (held[round][1]-held[round][0]-(plain[round][1]-plain[round][0]))/float64(n))
	}
	summary, err := sample.Of(each)
	return report.Spread(summary), err
}

// weighCrowd returns the anonymous memory of a program idle, after requests of n users, and after ceremonies that some of them
// begin.
func weighCrowd(ctx context.Context, l *lab, of program, options []string, n, starts int) (held []float64, err error) {
	s, err := l.site(of, fmt.Sprintf("crowd-%t", of.gated), 10)
	if err != nil {
		return nil, err
	}
	s.options = options
	if err := os.RemoveAll(s.folder); err != nil { // of the round before
		return nil, err
	}
	if _, err := s.prepare(ctx); err != nil {
		return nil, err
	}
	people, err := s.seed(ctx, n)
	if err != nil {
		return nil, err
	}
	r, err := l.run(ctx, s)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	steps := []func() error{func() error { return nil }, func() error { return people.visit(ctx, r, n) }}
	if s.gated {
		steps = append(steps, func() error { return people.begin(ctx, r, starts) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
		settled, err := r.settled(ctx, r.admin)
		if err != nil {
			return nil, err
		}
		held = append(held, settled)
	}
	return held, nil
}
