package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// admin speaks to the admin API of a Caddy that is measured: it reloads it, and reads what its runtime knows.
type admin struct {
	port int
	http *http.Client
}

func newAdmin(port int) admin {
	return admin{port, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}}
}

// call returns the body of a 200.
func (a admin) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	text, _, err := a.timed(ctx, method, path, body)
	return text, err
}

// timed is call, and returns how long it took. The admin API itself is made anew by each reload: a connection to the one
// before can end without an answer, and then it is asked again, which alone counts.
func (a admin) timed(ctx context.Context, method, path string, body []byte) (text []byte, took time.Duration, err error) {
	for range 5 {
		began := time.Now()
		text, err = a.once(ctx, method, path, body)
		took = time.Since(began)
		if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return text, took, err
}

func (a admin) once(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d%s", a.port, path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Cache-Control", "must-revalidate") // Caddy else takes the same configuration for none
	}
	answer, err := a.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: status %d: %s", method, path, answer.StatusCode, text)
	}
	return text, nil
}

// reload puts a configuration in force and returns how long that took.
func (a admin) reload(ctx context.Context, config []byte) (time.Duration, error) {
	_, took, err := a.timed(ctx, http.MethodPost, "/load", config)
	return took, err
}

// collect lets the runtime collect garbage. What is reachable only from finalizers goes with the second time.
func (a admin) collect(ctx context.Context) error {
	for range 2 {
		if _, err := a.call(ctx, http.MethodGet, "/debug/pprof/heap?gc=1", nil); err != nil {
			return err
		}
	}
	return nil
}

// heap returns how many bytes of the heap are in use. Garbage counts until it is collected.
func (a admin) heap(ctx context.Context) (float64, error) {
	text, err := a.call(ctx, http.MethodGet, "/debug/vars", nil)
	if err != nil {
		return 0, err
	}
	var vars struct {
		Memory *struct{ HeapAlloc float64 } `json:"memstats"`
	}
	if err := json.Unmarshal(text, &vars); err != nil {
		return 0, err
	}
	if vars.Memory == nil {
		return 0, fmt.Errorf("/debug/vars has no memstats")
	}
	return vars.Memory.HeapAlloc, nil
}

// goroutines returns how many there are.
func (a admin) goroutines(ctx context.Context) (count float64, err error) {
	text, err := a.call(ctx, http.MethodGet, "/debug/pprof/goroutine?debug=1", nil)
	if err != nil {
		return 0, err
	}
	first, _, err := bufio.NewReader(bytes.NewReader(text)).ReadLine()
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(first), "goroutine profile: total %f", &count); err != nil {
		return 0, fmt.Errorf("%q: %w", first, err)
	}
	return count, nil
}

// settled returns the process's anonymous memory once its garbage is collected and what is free is given back: when six
// readings in a row, a tenth of a second apart, are the same, or after five seconds.
func (p *process) settled(ctx context.Context, a admin) (float64, error) {
	if err := a.collect(ctx); err != nil {
		return 0, err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last, same := 0.0, 0
	for range 50 {
		held, err := p.anonymous()
		if err != nil {
			return 0, err
		}
		if held == last {
			same++
		} else {
			last, same = held, 1
		}
		if same == 6 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return last, nil
}
