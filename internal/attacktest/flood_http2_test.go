package attacktest_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// floodSecure is a gateway that speaks HTTP/2, prepared as [flood] does.
func floodSecure(t *testing.T) *flooded {
	t.Helper()
	f := &flooded{Gateway: gatewaytest.Prepare(t), t: t, stop: make(chan struct{})}
	f.URL = fmt.Sprintf("https://localhost:%d", f.Port)
	f.Configure(strings.Replace(strings.Replace(gatewaytest.Secure, "\n\tlog\n", "\n", 1), "\tstepgate {\n\t\trp_id",
		"\tlog default {\n\t\texclude http.handlers.stepgate.audit http.log.access\n\t}\n\tlog audit {\n\t\toutput file $DIR/audit.log {\n\t\t\troll_disabled\n\t\t}\n\t\tinclude http.handlers.stepgate.audit\n\t}\n\tstepgate {\n\t\trp_id", 1))
	f.Run()
	f.alice, f.bob = gatewaytest.NewClient(t, f.Gateway, "alice"), gatewaytest.NewClient(t, f.Gateway, "bob")
	for _, c := range []*gatewaytest.Client{f.alice, f.bob} {
		gatewaytest.Must(t, gatewaytest.Session(c))
	}
	f.before = f.usage()
	return f
}

// frames is a connection of HTTP/2 on which anything can be written.
type frames struct {
	net.Conn
	*h2.Framer
	next uint32 // stream
}

func (f *flooded) frames() (*frames, error) {
	c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Port), &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{"h2"}})
	if err != nil {
		return nil, err
	}
	f.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, h2.ClientPreface); err != nil {
		return nil, err
	}
	framer := h2.NewFramer(c, c)
	return &frames{c, framer, 1}, framer.WriteSettings()
}

// headers are those of a request of the gateway's own pages.
func (f *flooded) headers(method, path string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", method}, {":scheme", "https"}, {":authority", fmt.Sprintf("localhost:%d", f.Port)}, {":path", path},
		{"x-user", "mallory"}, {"origin", f.URL}, {"content-type", "application/json"},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1], Sensitive: true}) // so that the block is good on any connection, at any time
	}
	return block.Bytes()
}

// request begins one on a new stream.
func (c *frames) request(block []byte, end bool) (stream uint32, err error) {
	stream = c.next
	c.next += 2
	return stream, c.WriteHeaders(h2.HeadersFrameParam{StreamID: stream, BlockFragment: block, EndHeaders: true, EndStream: end})
}

// HTTP/2 lets one connection carry a flood. What bounds it is the server's; that it does, and that people are served
// meanwhile, is held here for the addresses of the gate.
func TestA42_HTTP2(t *testing.T) {
	f := floodSecure(t)
	f.watch()
	const lanes = 8
	// each sends until the gateway closes the connection, or so many times, and goes on with another connection.
	each := func(t *testing.T, n int, send func(c *frames, i int) error) (cut int) {
		t.Helper()
		var all sync.WaitGroup
		var mu sync.Mutex
		for range lanes {
			all.Go(func() {
				for i := 0; i < n/lanes; {
					c, err := f.frames()
					if err != nil {
						t.Error(err)
						return
					}
					go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
					for ; i < n/lanes; i++ {
						if err := send(c, i); err != nil {
							i++
							mu.Lock()
							cut++
							mu.Unlock()
							break
						}
					}
					c.Close()
				}
			})
		}
		f.served("meanwhile", f.alice, f.bob)
		all.Wait()
		f.served("afterwards", f.alice, f.bob)
		return cut
	}

	t.Run("streams that are reset at once", func(t *testing.T) {
		block := f.headers("GET", "/keys")
		cut := each(t, 100_000, func(c *frames, _ int) error {
			stream, err := c.request(block, true)
			if err != nil {
				return err
			}
			return c.WriteRSTStream(stream, h2.ErrCodeCancel)
		})
		t.Logf("%d connections were cut", cut)
	})

	t.Run("pings that nobody waits for", func(t *testing.T) {
		cut := each(t, 100_000, func(c *frames, i int) error { return c.WritePing(false, [8]byte{byte(i)}) })
		t.Logf("%d connections were cut", cut)
	})

	t.Run("headers without an end", func(t *testing.T) {
		block, more := f.headers("GET", "/keys"), bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 3000) // a: b, over and over
		for range 4 {
			c, err := f.frames()
			gatewaytest.Must(t, err)
			go func() { _, _ = io.Copy(io.Discard, c.Conn) }()
			err = c.WriteHeaders(h2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true})
			sent := 0
			for ; err == nil && sent < 64*mib; sent += len(more) {
				err = c.WriteContinuation(1, false, more)
			}
			if err == nil {
				t.Errorf("the server took %d MiB of headers", sent/mib)
			}
			c.Close()
		}
		f.served("afterwards", f.alice, f.bob)
	})

	t.Run("bodies without an end", func(t *testing.T) {
		block := f.headers("POST", "/.stepgate/challenge/verify")
		var all sync.WaitGroup
		var mu sync.Mutex
		ended := 0
		for range lanes {
			all.Go(func() {
				c, err := f.frames()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				const streams = 100 // fewer than a server lets be open at once
				for range streams {
					stream, err := c.request(block, false)
					if err == nil {
						err = c.WriteData(stream, false, []byte("{"))
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				done := map[uint32]bool{}
				for len(done) < streams { // each is answered, though its body never ends
					frame, err := c.ReadFrame()
					if err != nil {
						t.Errorf("after %d of %d answers: %v", len(done), streams, err)
						return
					}
					if end := frame.Header(); end.StreamID > 0 && (end.Flags.Has(h2.FlagDataEndStream) && end.Type == h2.FrameData || end.Type == h2.FrameRSTStream) {
						done[end.StreamID] = true
					}
				}
				mu.Lock()
				ended += len(done)
				mu.Unlock()
			})
		}
		f.served("meanwhile", f.alice, f.bob)
		all.Wait()
		f.served("afterwards", f.alice, f.bob)
		t.Logf("%d bodies were given up", ended)
		if refused := f.lines("body_timeout"); refused != ended || ended != lanes*100 {
			t.Errorf("%d time-outs are audited, %d streams were ended, want %d", refused, ended, lanes*100)
		}
	})
	f.over(1024*mib, 32*mib)
}
