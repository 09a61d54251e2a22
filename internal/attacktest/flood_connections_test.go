package attacktest_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// connections is how many a flood opens.
const connections = 10_000

// open opens n connections to the gateway, sends each of them what first says, and returns them.
func (f *flooded) open(n int, first func(i int) []byte) []net.Conn {
	f.t.Helper()
	const workers = 16
	list := make([]net.Conn, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c, err := f.dialled()
				if err == nil {
					_, err = c.Write(first(i))
				}
				if err != nil {
					f.t.Errorf("connection %d: %v", i, err)
					return
				}
				list[i] = c
			}
		})
	}
	all.Wait()
	f.t.Cleanup(func() {
		for _, c := range list {
			if c != nil {
				c.Close()
			}
		}
	})
	if f.t.Failed() {
		f.t.FailNow()
	}
	return list
}

// H4: ten thousand connections do nothing: half of them never said a word, half asked for something and keep the connection.
func TestH4_IdleConnections(t *testing.T) {
	descriptors(t, connections+1000)
	f := flood(t, gatewaytest.OnFile)
	f.watch()
	status := f.request("/.stepgate/challenge/options", "nobody", `{"return_to":"/keys"}`)
	list := f.open(connections, func(i int) []byte {
		if i%2 == 0 {
			return nil
		}
		return status
	})
	var answered int
	for _, c := range list[1:] {
		if answered++; answered%2 == 0 {
			continue
		}
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		gatewaytest.Must(t, err)
		if answer.Close {
			t.Fatal("the connection is not kept")
		}
	}
	f.served("with 10,000 idle connections", f.alice, f.bob)
	held := f.usage()
	t.Logf("with them: heap %d MiB, resident %d MiB, %d goroutines", held.heap/mib, held.resident/mib, held.goroutines)
	for _, c := range list {
		c.Close()
	}
	f.over(2048*mib, 32*mib)
	f.served("after the flood", f.alice, f.bob)
}

// H4: ten thousand connections send a byte now and then: half of them never end their headers, which the server's own limit ends
// (read_header 10s in this Caddyfile; a minute by default), half never end the body of a ceremony, which the gate ends after 10 s.
// All of them are closed on, whatever they go on sending, and everybody else is served meanwhile.
func TestH4_SlowConnections(t *testing.T) {
	descriptors(t, connections+1000)
	f := flood(t, gatewaytest.OnFile)
	f.watch()
	headers := []byte("POST /.stepgate/challenge/verify HTTP/1.1\r\nHost: localhost\r\nX-User: mallory\r\nX-Slow: ")
	body := f.request("/.stepgate/challenge/verify", "mallory", "{", "Content-Length", "60000")
	paths := []string{"/.stepgate/challenge/options", "/.stepgate/challenge/verify", "/.stepgate/passkeys/options", "/.stepgate/passkeys"}
	list := f.open(connections, func(i int) []byte {
		if i%2 == 0 {
			return headers
		}
		if path := paths[i/2%len(paths)]; i%4 == 1 {
			return f.request(path, "mallory", "5\r\n{    \r\n", "Transfer-Encoding", "chunked")
		}
		return body
	})
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() { // round and round, a byte each
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			for i, c := range list {
				drop := []byte(" ")
				if i%4 == 1 {
					drop = []byte("1\r\n \r\n")
				}
				_, _ = c.Write(drop) // until it is closed
			}
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	f.served("with 10,000 slow connections", f.alice, f.bob)
	held := f.usage()
	t.Logf("with them: heap %d MiB, resident %d MiB, %d goroutines", held.heap/mib, held.resident/mib, held.goroutines)

	deadline := time.Now().Add(2 * time.Minute) // for slow machines; the limits are 10 s
	var counts [2]map[string]int
	for i := range counts {
		counts[i] = map[string]int{}
	}
	for i, c := range list {
		gatewaytest.Must(t, c.SetReadDeadline(deadline))
		answers := bufio.NewReader(c)
		answer, err := http.ReadResponse(answers, nil)
		outcome := "closed"
		if err == nil {
			text, _ := io.ReadAll(answer.Body)
			outcome = answer.Status
			if answer.StatusCode == http.StatusRequestTimeout && i%2 == 1 {
				outcome = gatewaytest.ProblemIn(t, text).Code
			}
			_, err = answers.ReadByte()
		}
		if timeout, ok := err.(net.Error); err == nil || ok && timeout.Timeout() {
			outcome = "left open"
		}
		counts[i%2][outcome]++
	}
	close(stop)
	dripping.Wait()
	t.Logf("slow headers: %v; slow bodies: %v", counts[0], counts[1])
	if counts[0]["left open"] > 0 || counts[1]["body_timeout"] < connections/2*99/100 || counts[1]["left open"] > 0 {
		t.Errorf("slow headers: %v; slow bodies: %v", counts[0], counts[1])
	}
	if refused := f.lines("body_timeout"); refused < counts[1]["body_timeout"] {
		t.Errorf("%d time-outs are audited, want %d", refused, counts[1]["body_timeout"])
	}
	f.over(2048*mib, 32*mib)
	f.served("after the flood", f.alice, f.bob)
}
