// Package load sends one request to a server again and again, over connections that it keeps, and says how long each
// answer took.
//
// It is a closed loop, as wrk is: each connection sends its next request when it has its answer. It costs little, for it
// takes time from the same machine: a request is written as the bytes that it is, and of an answer only its end is looked
// for. What it does look at it holds to the byte: an answer that is not 200 with the right body, or that ends the
// connection, fails the whole run.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Request is what is sent, and what has to come back.
type Request struct {
	Address string // of the server, host and port
	Bytes   []byte // of the whole request
	Body    string // of the answer
}

// Result is what a run came to.
type Result struct {
	Requests  int             // all that were answered
	Measured  int             // those of the measured time, whose latencies are here
	Elapsed   time.Duration   // from the first measured request to the last answer
	Latencies []time.Duration // sorted
}

// Quantile returns the latency that a part p of the requests did not exceed.
func (r Result) Quantile(p float64) time.Duration {
	return r.Latencies[min(len(r.Latencies)-1, int(p*float64(len(r.Latencies))))]
}

// Join puts several results into one.
func Join(results ...Result) (all Result) {
	for _, r := range results {
		all.Requests += r.Requests
		all.Measured += r.Measured
		all.Elapsed += r.Elapsed
		all.Latencies = append(all.Latencies, r.Latencies...)
	}
	slices.Sort(all.Latencies)
	return all
}

// slack is how much longer than the measured time an answer may take.
const slack = 10 * time.Second

// Run opens connections and sends requests over them for a tenth of a duration, to warm everything up; then it calls begin,
// and measures for the whole duration. Each connection sends one request at least before and after begin. Every request
// that was sent is answered when Run returns without an error.
func (r Request) Run(ctx context.Context, connections int, d time.Duration, begin func() error) (Result, error) {
	open := make([]*connection, 0, connections)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range connections {
		dialled, err := new(net.Dialer).DialContext(ctx, "tcp", r.Address)
		if err != nil {
			return Result{}, err
		}
		open = append(open, &connection{Conn: dialled, answers: bufio.NewReader(dialled)})
		if err := dialled.SetDeadline(time.Now().Add(2*d + slack)); err != nil {
			return Result{}, err
		}
	}
	warmed, _, err := r.phase(ctx, open, d/10)
	if err != nil {
		return Result{}, err
	}
	if err := begin(); err != nil {
		return Result{}, err
	}
	latencies, elapsed, err := r.phase(ctx, open, d)
	if err != nil {
		return Result{}, err
	}
	slices.Sort(latencies)
	return Result{Requests: len(warmed) + len(latencies), Measured: len(latencies), Elapsed: elapsed, Latencies: latencies}, nil
}

// phase sends requests over all connections for a while, and returns how long each took.
func (r Request) phase(ctx context.Context, open []*connection, d time.Duration) (latencies []time.Duration, elapsed time.Duration, _ error) {
	errs := make([]error, len(open))
	start := time.Now()
	var running sync.WaitGroup
	for i, c := range open {
		c.latencies = c.latencies[:0]
		running.Go(func() {
			for last := start; ; {
				if errs[i] = c.ask(r); errs[i] != nil {
					return
				}
				now := time.Now()
				c.latencies = append(c.latencies, now.Sub(last))
				if last = now; last.Sub(start) >= d || ctx.Err() != nil {
					return
				}
			}
		})
	}
	running.Wait()
	elapsed = time.Since(start)
	for _, c := range open {
		latencies = append(latencies, c.latencies...)
	}
	return latencies, elapsed, errors.Join(append(errs, ctx.Err())...)
}

// connection is one connection, with the latencies of its requests.
type connection struct {
	net.Conn
	answers   *bufio.Reader
	latencies []time.Duration
	body      []byte
}

var (
	good       = []byte("HTTP/1.1 200 OK\r\n")
	end        = []byte("\r\n")
	lengthIs   = []byte("Content-Length: ")
	closing    = []byte("Connection: close\r\n")
	errLength  = errors.New("an answer has no Content-Length")
	errClosing = errors.New("an answer ends its connection")
)

// ask sends the request and reads the answer.
func (c *connection) ask(r Request) error {
	if _, err := c.Write(r.Bytes); err != nil {
		return err
	}
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if !bytes.Equal(line, good) {
		return fmt.Errorf("an answer is %q", line)
	}
	length := -1
	for {
		if line, err = c.answers.ReadSlice('\n'); err != nil {
			return fmt.Errorf("reading an answer: %w", err)
		}
		if bytes.Equal(line, end) {
			break
		}
		if value, ok := bytes.CutPrefix(line, lengthIs); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return errLength
			}
		}
		if bytes.Equal(line, closing) {
			return errClosing
		}
	}
	if length != len(r.Body) {
		return fmt.Errorf("%w of %d: %d", errLength, len(r.Body), length)
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	if _, err := io.ReadFull(c.answers, c.body[:length]); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if string(c.body[:length]) != r.Body {
		return fmt.Errorf("an answer's body is %q", c.body[:length])
	}
	return nil
}
