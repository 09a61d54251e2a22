package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// mix is the load of a soak: what people and scripts do at a console, in proportions.
type mix struct {
	site     *site
	people   []*person
	stranger *http.Client // has no cookies, and follows no redirect

	requests atomic.Int64
	done     []atomic.Int64 // of each deed
	again    atomic.Int64   // done a second time, because a reload had closed the connection

	mu  sync.Mutex
	err error
}

// deed is one thing that a person does, and how often of a hundred.
type deed struct {
	name  string
	share int
	do    func(ctx context.Context, m *mix, p *person) error
}

var deeds = [...]deed{
	{"allowed requests", 70, func(ctx context.Context, m *mix, p *person) error {
		body, err := m.get(ctx, p, p.http, m.area(), http.StatusOK)
		if err == nil && string(body) != answer {
			err = fmt.Errorf("an allowed request was answered %q", body)
		}
		return err
	}},
	{"refused ones", 9, func(ctx context.Context, m *mix, p *person) error {
		body, err := m.get(ctx, p, m.stranger, m.area(), http.StatusUnauthorized)
		if err == nil && !bytes.Contains(body, []byte("step_up_required")) {
			err = fmt.Errorf("a request without a grant was answered %q", body)
		}
		return err
	}},
	{"navigations to the challenge page", 8, func(ctx context.Context, m *mix, p *person) error {
		place, err := m.navigate(ctx, p, m.area())
		if err != nil {
			return err
		}
		_, err = m.get(ctx, p, m.stranger, place, http.StatusOK)
		return err
	}},
	{"account pages", 4, func(ctx context.Context, m *mix, p *person) error {
		_, err := m.get(ctx, p, p.http, "/.stepgate/passkeys", http.StatusOK)
		return err
	}},
	{"bodies that are none", 2, func(ctx context.Context, m *mix, p *person) error {
		_, err := p.post(ctx, "/.stepgate/challenge/verify", map[string]any{"return_to": "/area0/x", "credential": map[string]any{}}, http.StatusBadRequest)
		m.requests.Add(1)
		return err
	}},
	{"abandoned ceremonies", 1, func(ctx context.Context, m *mix, p *person) error {
		_, err := p.post(ctx, "/.stepgate/challenge/options", map[string]any{"return_to": "/area0/x"}, http.StatusOK)
		m.requests.Add(1)
		return err
	}},
	{"step-ups", 5, func(ctx context.Context, m *mix, p *person) error {
		_, err := p.stepUp(ctx, "/area0/x")
		m.requests.Add(2)
		return err
	}},
	{"log-outs, each with the step-up after it", 1, func(ctx context.Context, m *mix, p *person) error {
		if _, err := p.post(ctx, "/.stepgate/logout", map[string]any{}, http.StatusNoContent); err != nil {
			return err
		}
		_, err := p.stepUp(ctx, "/area0/x")
		m.requests.Add(3)
		return err
	}},
}

// newMix registers the people, and steps each of them up.
func newMix(ctx context.Context, s *site, people int) (*mix, error) {
	m := &mix{site: s, done: make([]atomic.Int64, len(deeds)), stranger: &http.Client{Timeout: patience, CheckRedirect: stay, Transport: &http.Transport{DialContext: loopback, MaxIdleConnsPerHost: 8}}}
	for i := range people {
		p, err := newPerson(s.origin())
		if err != nil {
			return nil, err
		}
		p.sent = http.Header{"X-User": {userName(i)}, "X-Forwarded-For": {addressOf(i)}}
		if err := p.register(ctx); err != nil {
			return nil, err
		}
		if _, err := p.stepUp(ctx, "/area0/x"); err != nil {
			return nil, err
		}
		m.people = append(m.people, p)
	}
	return m, nil
}

// run does deeds until the context ends. What goes wrong ends it, by stop.
func (m *mix) run(ctx context.Context, stop func()) {
	const workers = 8
	var wait sync.WaitGroup
	for worker := range workers {
		wait.Go(func() {
			tick := time.NewTicker(15 * time.Millisecond) // not as fast as it can: nothing should queue while figures are read
			defer tick.Stop()
			for n := worker; ; n += workers {
				select {
				case <-tick.C:
				case <-ctx.Done():
					return
				}
				if err := m.one(ctx, m.people[n%len(m.people)]); err != nil && ctx.Err() == nil {
					m.mu.Lock()
					m.err = errors.Join(m.err, err)
					m.mu.Unlock()
					stop()
					return
				}
			}
		})
	}
	wait.Wait()
}

// failed returns what went wrong.
func (m *mix) failed() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// one does a deed, by chance. No person does two at once: workers share nobody as long as there is a multiple of them.
func (m *mix) one(ctx context.Context, p *person) error {
	at, which := rand.IntN(100), 0 // #nosec G404 -- nothing secret
	for at >= deeds[which].share {
		at -= deeds[which].share
		which++
	}
	err := deeds[which].do(ctx, m, p)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // what a reload closed; only what is no GET shows it
		m.again.Add(1)
		err = deeds[which].do(ctx, m, p)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", deeds[which].name, p.sent.Get("X-User"), err)
	}
	m.done[which].Add(1)
	return nil
}

func (m *mix) area() string {
	return fmt.Sprintf("/area%d/x", rand.IntN(m.site.routes)) // #nosec G404 -- nothing secret
}

// get asks for a path in a person's name.
func (m *mix) get(ctx context.Context, p *person, client *http.Client, path string, status int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.origin+path, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, p.sent)
	m.requests.Add(1)
	return expect(client, request, status)
}

// navigate asks for a path as a browser's window does, without a grant, and returns where it is sent.
func (m *mix) navigate(ctx context.Context, p *person, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.origin+path, nil)
	if err != nil {
		return "", err
	}
	maps.Copy(request.Header, p.sent)
	request.Header.Set("Sec-Fetch-Mode", "navigate")
	request.Header.Set("Sec-Fetch-Dest", "document")
	m.requests.Add(1)
	got, err := m.stranger.Do(request)
	if err != nil {
		return "", err
	}
	defer got.Body.Close()
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		return "", err
	}
	place := got.Header.Get("Location")
	if got.StatusCode != http.StatusSeeOther || !strings.HasPrefix(place, "/.stepgate/challenge?") {
		return "", fmt.Errorf("a navigation was answered %d, to %q", got.StatusCode, place)
	}
	return place, nil
}

// words says what was done, and how often.
func (m *mix) words() string {
	var parts []string
	for i := range deeds {
		parts = append(parts, fmt.Sprintf("%d %s", m.done[i].Load(), deeds[i].name))
	}
	text := strings.Join(parts, ", ")
	if again := m.again.Load(); again > 0 {
		text += fmt.Sprintf(" (%d of them sent again, because a reload had closed the connection)", again)
	}
	return text
}
