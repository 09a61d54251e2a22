package attacktest_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stepgate/stepgate/internal/gatewaytest"
)

// Floods are run one after the other, and not beside other tests of this package: they measure memory.

// flooded is a gateway under a flood, with people who go on using it: alice, whom it is aimed at, and bob, each in a browser that
// has confirmed before.
type flooded struct {
	*gatewaytest.Gateway
	t          *testing.T
	tables     *gatewaytest.Tables // nil on a file
	alice, bob *gatewaytest.Client
	before     usage
	peak       usage
	stop       chan struct{}
	once       sync.Once
	watching   sync.WaitGroup
}

// usage is what the process takes, in bytes, and its goroutines.
type usage struct{ heap, resident, goroutines int }

// floodCaddyfile is that of a gateway that is to be flooded: no debug log, the audit log in a file, and little patience with
// headers. Clients may say which network they are in.
func floodCaddyfile() string {
	text := strings.Replace(networked("", ""), "\tdebug\n", `	log default {
		exclude http.handlers.stepgate.audit http.log.access
	}
	log audit {
		output file $DIR/audit.log {
			roll_disabled
		}
		include http.handlers.stepgate.audit
	}
`, 1)
	text = strings.Replace(text, "\tservers {\n", "\tservers {\n\t\ttimeouts {\n\t\t\tread_header 10s\n\t\t\tidle 1m\n\t\t}\n", 1)
	return strings.Replace(text, "\tlog\n", "", 1)
}

// flood starts a gateway and prepares its people.
func flood(t *testing.T, on gatewaytest.Store) *flooded {
	t.Helper()
	f := &flooded{Gateway: gatewaytest.Prepare(t), t: t, stop: make(chan struct{})}
	f.Swift = true
	if on == gatewaytest.OnDynamoDB {
		f.tables = gatewaytest.NewTables(t)
		f.Uses(f.tables, f.tables.Endpoint, gatewaytest.NewKey(f.Gateway))
	}
	f.Configure(floodCaddyfile())
	f.Run()
	f.alice, f.bob = gatewaytest.NewClient(t, f.Gateway, "alice"), gatewaytest.NewClient(t, f.Gateway, "bob")
	for _, c := range []*gatewaytest.Client{f.alice, f.bob} {
		gatewaytest.Must(t, gatewaytest.Session(c))
	}
	f.before = f.usage()
	return f
}

var (
	heapAlloc  = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
	goroutines = regexp.MustCompile(`goroutine profile: total (\d+)`)
	resident   = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
)

// usage asks the process, after a garbage collection.
func (f *flooded) usage() usage {
	f.t.Helper()
	return usage{
		heap:       f.number(heapAlloc, f.profile("heap?debug=1&gc=1")),
		goroutines: f.number(goroutines, f.profile("goroutine?debug=1")),
		resident:   f.resident(),
	}
}

func (f *flooded) resident() int {
	f.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", f.Pid()))
	gatewaytest.Must(f.t, err)
	return f.number(resident, status) << 10
}

func (f *flooded) profile(name string) []byte {
	f.t.Helper()
	answer, err := http.Get(fmt.Sprintf("http://localhost:%d/debug/pprof/%s", f.Admin, name))
	gatewaytest.Must(f.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	gatewaytest.Must(f.t, err)
	return text
}

func (f *flooded) number(what *regexp.Regexp, text []byte) int {
	f.t.Helper()
	m := what.FindSubmatch(text)
	if m == nil {
		f.t.Fatalf("no %v in %.200s", what, text)
	}
	n, err := strconv.Atoi(string(m[1]))
	gatewaytest.Must(f.t, err)
	return n
}

// watch notes the most memory that the process has from now on.
func (f *flooded) watch() {
	f.t.Cleanup(f.watched)
	status := fmt.Sprintf("/proc/%d/status", f.Pid())
	f.watching.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				text, err := os.ReadFile(status)
				if m := resident.FindSubmatch(text); err == nil && m != nil {
					n, _ := strconv.Atoi(string(m[1]))
					f.peak.resident = max(f.peak.resident, n<<10)
				}
			}
		}
	})
}

// watched ends the watch.
func (f *flooded) watched() {
	f.once.Do(func() { close(f.stop) })
	f.watching.Wait()
}

const mib = 1 << 20

// over ends the watch and holds that the process never had more than so much more memory than before, and that afterwards its
// heap and its goroutines are nearly what they were.
func (f *flooded) over(peak, heap int) {
	f.t.Helper()
	f.watched()
	var after usage
	idle := 30
	if f.tables != nil {
		idle += 2 * 128 // connections to DynamoDB are kept for a minute, each with two
	}
	for range 2 {
		f.profile("heap?gc=1") // what pools hold goes at the second collection
	}
	gatewaytest.Eventually(f.t, "goroutines go back to where they were", func() bool {
		after = f.usage()
		return after.goroutines <= f.before.goroutines+idle
	})
	f.t.Logf("heap %d MiB before, %d after; resident %d before, %d at the most, %d after; goroutines %d before, %d after",
		f.before.heap/mib, after.heap/mib, f.before.resident/mib, f.peak.resident/mib, after.resident/mib, f.before.goroutines, after.goroutines)
	if got := f.peak.resident - f.before.resident; got > peak {
		f.t.Errorf("the process took %d MiB more during the flood, want %d at the most", got/mib, peak/mib)
	}
	if got := after.heap - f.before.heap; got > heap {
		f.t.Errorf("the heap has %d MiB more after the flood, want %d at the most", got/mib, heap/mib)
	}
}

// served holds that people step up and pass.
func (f *flooded) served(when string, people ...*gatewaytest.Client) {
	f.t.Helper()
	for _, c := range people {
		if err := gatewaytest.Recovered(c); err != nil {
			f.t.Errorf("%s, %s: %v", when, c.User, err)
		}
	}
}

// lines counts the audit lines with a reason.
func (f *flooded) lines(reason string) int {
	f.t.Helper()
	text, err := os.ReadFile(f.Folder + "/audit.log")
	gatewaytest.Must(f.t, err)
	return bytes.Count(text, []byte(`"reason":"`+reason+`"`))
}

// request is one request of the gateway's own pages, as bytes.
func (f *flooded) request(path, user, body string, headers ...string) []byte {
	var text strings.Builder
	fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: localhost:%d\r\nX-User: %s\r\nOrigin: %s\r\n", path, f.Port, user, f.URL)
	for i := 0; i+1 < len(headers); i += 2 {
		fmt.Fprintf(&text, "%s: %s\r\n", headers[i], headers[i+1])
	}
	if !strings.Contains(text.String(), "Content-Type:") {
		text.WriteString("Content-Type: application/json\r\n")
	}
	if !strings.Contains(text.String(), "Transfer-Encoding:") && !strings.Contains(text.String(), "Content-Length:") {
		fmt.Fprintf(&text, "Content-Length: %d\r\n", len(body))
	}
	return []byte(text.String() + "\r\n" + body)
}

// ask sends bytes and returns the answer. Whoever answers before all of it was sent need not take the rest.
func (f *flooded) ask(text []byte) gatewaytest.Reply {
	f.t.Helper()
	c := f.dial()
	defer c.Close()
	gatewaytest.Must(f.t, c.SetDeadline(time.Now().Add(time.Minute)))
	go func() { _, _ = c.Write(text) }()
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	gatewaytest.Must(f.t, err)
	body, _ := io.ReadAll(answer.Body)
	return gatewaytest.Reply{Status: answer.StatusCode, Header: answer.Header, Body: body}
}

func (f *flooded) dial() net.Conn {
	c, err := f.dialled()
	gatewaytest.Must(f.t, err)
	return c
}

// dialled returns a connection that leaves nothing behind when it is closed: a port that waits for its time to be over could
// not be had by the next.
func (f *flooded) dialled() (net.Conn, error) {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Port))
	if err == nil {
		err = c.(*net.TCPConn).SetLinger(0)
	}
	return c, err
}

// pour sends n requests over a few connections, many at a time on each, and counts the answers by status. halfway is called
// when half of them are answered.
func (f *flooded) pour(n int, request func(i int) []byte, halfway func()) map[int]int {
	f.t.Helper()
	const connections, batch = 16, 50
	var (
		next, done atomic.Int64
		mu         sync.Mutex
		counts     = map[int]int{}
		pourers    sync.WaitGroup
		half       = make(chan struct{})
		once       sync.Once
	)
	for range connections {
		pourers.Go(func() {
			c, err := f.dialled()
			if err != nil {
				f.t.Error(err)
				return
			}
			defer c.Close()
			answers := bufio.NewReader(c)
			for {
				first := int(next.Add(batch)) - batch
				if first >= n {
					return
				}
				last := min(first+batch, n)
				var send bytes.Buffer
				for i := first; i < last; i++ {
					send.Write(request(i))
				}
				written := make(chan error, 1)
				go func() {
					_, err := c.Write(send.Bytes())
					written <- err
				}()
				got := map[int]int{}
				for range last - first {
					answer, err := http.ReadResponse(answers, nil)
					if err == nil {
						_, err = io.Copy(io.Discard, answer.Body)
						got[answer.StatusCode]++
					}
					if err != nil {
						f.t.Errorf("reading an answer: %v", err)
						return
					}
				}
				if err := <-written; err != nil {
					f.t.Error(err)
					return
				}
				mu.Lock()
				for status, count := range got {
					counts[status] += count
				}
				mu.Unlock()
				if int(done.Add(int64(last-first))) >= n/2 {
					once.Do(func() { close(half) })
				}
			}
		})
	}
	select {
	case <-half:
		halfway()
	case <-ended(&pourers):
	}
	pourers.Wait()
	return counts
}

func ended(group *sync.WaitGroup) <-chan struct{} {
	all := make(chan struct{})
	go func() {
		group.Wait()
		close(all)
	}()
	return all
}

// descriptors sees to it that this process, and so the gateway that it starts, may have so many connections.
func descriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	gatewaytest.Must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Max < n {
		t.Fatalf("this flood needs %d open files for each process, and the hard limit is %d: raise it, for example with `ulimit -Hn %d` as root or `--ulimit nofile=%d` of docker run", n, limit.Max, n, n)
	}
	if limit.Cur < n {
		limit.Cur = n
		gatewaytest.Must(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
	}
}
