package attacktest_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// endless sends what the writer makes until the gateway closes the connection, or it has sent more than anybody would take. It
// returns the answer and how much was sent.
func (f *flooded) endless(first []byte, more func() []byte) (gatewaytest.Reply, int) {
	f.t.Helper()
	const most = 1 << 30
	c := f.dial()
	defer c.Close()
	gatewaytest.Must(f.t, c.SetDeadline(time.Now().Add(time.Minute)))
	sent := make(chan int, 1)
	go func() {
		n, err := c.Write(first)
		for err == nil && n < most {
			var part int
			part, err = c.Write(more())
			n += part
		}
		sent <- n
	}()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	gatewaytest.Must(f.t, err)
	text, _ := io.ReadAll(answer.Body)
	n := <-sent // the gateway closes the connection: nothing else ends it before a gigabyte
	if n >= most {
		f.t.Errorf("the gateway took %d bytes", n)
	}
	return gatewaytest.Reply{Status: answer.StatusCode, Header: answer.Header, Body: text}, n
}

// A42: bodies without an end, compressed ones, deep ones and ones that say they are huge, at every address that takes one, many
// at a time. Each is refused for what it is, none is taken in whole, and nothing of them stays.
func TestA42_Bodies(t *testing.T) {
	f := flood(t, gatewaytest.OnFile)
	f.watch()
	paths := []string{
		"/.stepgate/challenge/options", "/.stepgate/challenge/verify", "/.stepgate/passkeys/options", "/.stepgate/passkeys",
		"/.stepgate/passkeys/authorize/options", "/.stepgate/recovery-codes", "/.stepgate/logout",
	}

	t.Run("endless", func(t *testing.T) {
		spaces := bytes.Repeat([]byte(" "), 64<<10)
		chunk := append(fmt.Appendf(nil, "%x\r\n", len(spaces)), append(spaces, "\r\n"...)...)
		var all sync.WaitGroup
		for _, path := range paths {
			for _, kind := range []string{"long", "chunked"} {
				for range 4 {
					all.Go(func() {
						headers, part := []string{"Content-Length", "1099511627776"}, spaces
						if kind == "chunked" {
							headers, part = []string{"Transfer-Encoding", "chunked"}, chunk
						}
						answer, n := f.endless(f.request(path, "mallory", "", headers...), func() []byte { return part })
						if err := answer.Refused(413, "body_too_large"); err != nil {
							t.Errorf("%s, %s, after %d bytes: %v", path, kind, n, err)
						}
					})
				}
			}
		}
		all.Wait()
		f.served("after endless bodies", f.alice, f.bob)
	})

	t.Run("compressed", func(t *testing.T) {
		var bomb bytes.Buffer // 64 MiB of spaces in 64 KiB
		packed := gzip.NewWriter(&bomb)
		for range 64 {
			_, err := packed.Write(bytes.Repeat([]byte(" "), mib))
			gatewaytest.Must(t, err)
		}
		gatewaytest.Must(t, packed.Close())
		for i, path := range paths {
			codings := []string{"gzip", "GZIP", "deflate", "br", "zstd", "identity", "gzip, gzip"}
			if i > 0 {
				codings = codings[:1] // what reads them is the same for all
			}
			for _, coding := range codings {
				answer := f.ask(f.request(path, "mallory", bomb.String()[:60<<10], "Content-Encoding", coding, "Connection", "close"))
				if err := answer.Refused(415, "media_type"); err != nil {
					t.Errorf("%s, %s: %v", path, coding, err)
				}
			}
			for _, coding := range []string{"gzip, chunked", "gzip", "deflate, chunked"} {
				answer := f.ask(f.request(path, "mallory", "5\r\n{\"a\":\r\n0\r\n\r\n", "Transfer-Encoding", coding, "Connection", "close"))
				if answer.Status != http.StatusNotImplemented && answer.Status != http.StatusBadRequest {
					t.Errorf("%s, transfer coding %s: %d %s", path, coding, answer.Status, answer.Body)
				}
			}
		}
	})

	t.Run("deep and huge", func(t *testing.T) {
		const levels = 20_000
		nested := func(open, close string) string { return strings.Repeat(open, levels) + strings.Repeat(close, levels) }
		client, _ := json.Marshal(map[string]any{"type": "webauthn.create", "challenge": base64.RawURLEncoding.EncodeToString(make([]byte, 32)), "origin": f.URL})
		credential := func(attestation []byte) string {
			text, _ := json.Marshal(map[string]any{"credential": map[string]any{
				"id": "AAAA", "rawId": "AAAA", "type": "public-key", "clientExtensionResults": map[string]any{},
				"response": map[string]any{
					"clientDataJSON":    base64.RawURLEncoding.EncodeToString(client),
					"attestationObject": base64.RawURLEncoding.EncodeToString(attestation),
				},
			}})
			return string(text)
		}
		deep := func(unit ...byte) []byte { return append(bytes.Repeat(unit, levels), 0) }
		bodies := map[string]string{
			"arrays":                  nested("[", "]"),
			"arrays in the body":      `{"credential":` + nested("[", "]") + `}`,
			"objects":                 `{"credential":` + strings.Repeat(`{"a":`, 10_000) + `1` + strings.Repeat("}", 10_000) + `}`,
			"open arrays":             strings.Repeat("[", 60_000),
			"members":                 `{` + strings.Repeat(`"a":1,`, 9_000) + `"a":1}`,
			"a long number":           `{"credential":` + strings.Repeat("9", 60_000) + `}`,
			"a long exponent":         `{"credential":1e` + strings.Repeat("9", 60_000) + `}`,
			"escapes":                 `{"credential":"` + strings.Repeat(`\u0000`, 10_000) + `"}`,
			"CBOR arrays":             credential(deep(0x81)),
			"CBOR maps":               credential(deep(0xa1, 0x00)),
			"CBOR tags":               credential(deep(0xc1)),
			"CBOR open arrays":        credential(bytes.Repeat([]byte{0x9f}, levels)),
			"a huge CBOR array":       credential([]byte{0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
			"a huge CBOR map":         credential([]byte{0xbb, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff}),
			"a huge CBOR byte string": credential([]byte{0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}),
			"a huge CBOR statement": credential(append([]byte{0xa3, 0x63, 'f', 'm', 't', 0x64, 'n', 'o', 'n', 'e', 0x67, 'a', 't', 't', 'S', 't', 'm', 't'},
				append(bytes.Repeat([]byte{0xa1, 0x00}, levels), 0)...)),
		}
		for name, body := range bodies {
			for _, path := range paths {
				for range 3 {
					answer := f.ask(f.request(path, "mallory", body, "Connection", "close"))
					// Where an address does not read the member it is as if it were not there: none of the others may fail.
					want := "body_malformed"
					var got gatewaytest.Problem
					_ = json.Unmarshal(answer.Body, &got)
					if read := path == "/.stepgate/passkeys" && strings.Contains(name, "CBOR"); answer.Status >= 500 || answer.Grants() || read && got.Code != want {
						t.Errorf("%s at %s: %d %s", name, path, answer.Status, answer.Body)
					}
				}
			}
		}
		f.served("after deep bodies", f.alice, f.bob)
	})

	t.Run("headers", func(t *testing.T) {
		var huge strings.Builder
		many := func(n int) (text string) {
			for i := range n {
				text += fmt.Sprintf("X-Header-%d: value\r\n", i)
			}
			return text
		}
		cookies := func(n int) (text string) {
			for i := range n {
				text += fmt.Sprintf("cookie-%d=value; stepgate=forged%d; ", i, i)
			}
			return "Cookie: " + text + "a=b\r\n"
		}
		huge.WriteString("X-Huge: " + strings.Repeat("x", 3*mib) + "\r\n")
		for name, test := range map[string]struct {
			headers string
			want    []int
		}{
			"hundreds of headers":         {many(400), []int{401}}, // which get to the gate
			"hundreds of cookies":         {cookies(200), []int{401}},
			"hundreds of cookie headers":  {strings.Repeat("Cookie: stepgate=forged\r\n", 300), []int{401}},
			"thousands of headers":        {many(5_000), []int{401, 431}}, // the server's own limit may come first
			"thousands of cookies":        {cookies(5_000), []int{401, 431}},
			"thousands of cookie headers": {strings.Repeat("Cookie: stepgate=forged\r\n", 5_000), []int{401, 431}},
			"nominated headers":           {"Connection: " + strings.Repeat("x-user, ", 5_000) + "close\r\n", []int{400, 401, 431}},
			"a huge header":               {huge.String(), []int{431}},
			"a huge header's name":        {strings.Repeat("x", 3*mib) + ": x\r\n", []int{431}},
		} {
			for range 5 {
				answer := f.ask(fmt.Appendf(nil, "GET /keys HTTP/1.1\r\nHost: localhost:%d\r\nX-User: mallory\r\n%sConnection: close\r\n\r\n", f.Port, test.headers))
				if !slices.Contains(test.want, answer.Status) {
					t.Errorf("%s: %d %.300s", name, answer.Status, answer.Body)
				}
			}
		}
		f.served("after many headers", f.alice, f.bob)
	})
	f.Upstream.Take() // what alice and bob were let through to
	f.over(1024*mib, 32*mib)
}
