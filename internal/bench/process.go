package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a process may take to be ready, or to end.
const patience = 30 * time.Second

// process is a program that runs while something is measured.
type process struct {
	command *exec.Cmd
	output  *logged       // what it printed on standard error
	ended   chan struct{} // closed after its end, when err is set
	err     error
}

// start starts a program in a folder of the lab, with nothing of the environment but what it needs, so that what the
// machine's user has set changes nothing. A stop is the caller's.
func (l *lab) start(ctx context.Context, folder, program string, arguments ...string) (*process, error) {
	home := filepath.Join(l.folder, folder)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	p := &process{command: exec.CommandContext(ctx, program, arguments...), output: new(logged), ended: make(chan struct{})}
	p.command.Dir = home
	p.command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home + "/config", "XDG_DATA_HOME=" + home + "/data"}
	p.command.Stderr = p.output
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// caddy starts a Caddy with a Caddyfile, and waits until these ports of 127.0.0.1 take connections.
func (l *lab) caddy(ctx context.Context, folder, binary, caddyfile string, ports ...int) (*process, error) {
	home := filepath.Join(l.folder, folder)
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(home, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	p, err := l.start(ctx, folder, binary, "run", "--config", "Caddyfile")
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		if err := p.listens(port); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	return p, nil
}

// listens waits until the process takes connections on a port.
func (p *process) listens(port int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return connection.Close()
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return fmt.Errorf("%s ended: %w\n%s", p.command.Path, p.err, p.output)
		case <-late:
			return fmt.Errorf("%s does not listen on port %d\n%s", p.command.Path, port, p.output)
		}
	}
}

// stop ends the process as an operator does. One that had ended already, or does not end well, is an error.
func (p *process) stop() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %w\n%s", p.command.Path, p.err, p.output)
	default:
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.command.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end\n%s", p.command.Path, p.output)
	}
	if p.err != nil {
		return fmt.Errorf("ending %s: %w\n%s", p.command.Path, p.err, p.output)
	}
	return nil
}

// hertz is the unit of times in /proc/PID/stat. Linux has it fixed for programs, whatever the kernel's own is.
const hertz = 100

// processor returns how much processor time the process has used, in the program and in the kernel on its behalf.
func (p *process) processor() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading processor time (which needs Linux): %w", err)
	}
	// proc(5): the name may hold anything, so fields are counted from its closing bracket; utime and stime are 14 and 15.
	_, rest, _ := bytes.Cut(text[bytes.LastIndexByte(text, ')'):], []byte(" "))
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.command.Process.Pid, text)
	}
	total := time.Duration(0)
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(ticks) * (time.Second / hertz)
	}
	return total, nil
}

var anonymousMemory = regexp.MustCompile(`(?m)^RssAnon:\s+(\d+) kB$`)

// anonymous returns how many bytes of memory the process holds that are its own: heap and stacks, not the program's file.
func (p *process) anonymous() (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory (which needs Linux): %w", err)
	}
	m := anonymousMemory.FindSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf("/proc/%d/status has no RssAnon", p.command.Process.Pid)
	}
	kilobytes, err := strconv.ParseFloat(string(m[1]), 64)
	return kilobytes * 1024, err
}

// logged keeps the last of what a process prints.
type logged struct {
	mu   sync.Mutex
	text []byte
}

const maxLogged = 64 << 10

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if over := len(l.text) - maxLogged; over > 0 {
		l.text = append(l.text[:0], l.text[over:]...)
	}
	return len(p), nil
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// freePorts returns ports of 127.0.0.1 on which nobody listens. They lie below the range that systems hand out for
// outgoing connections, so that none of those takes one first.
func freePorts(n int) (ports []int, _ error) {
	held := []io.Closer{} // until all are found: none twice
	defer func() {
		for _, listener := range held {
			_ = listener.Close()
		}
	}()
	for range 100 * n {
		if len(ports) == n {
			return ports, nil
		}
		port := 20000 + rand.IntN(12000) // #nosec G404 -- nothing secret
		if listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			ports, held = append(ports, port), append(held, listener)
		}
	}
	return nil, fmt.Errorf("%d free ports were not found", n)
}
