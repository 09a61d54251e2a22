package gatewaytest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Gateway is the binary at work: a process with a Caddyfile, a store and a log of its own.
type Gateway struct {
	T           testing.TB
	Folder      string // $DIR: working directory, home, store
	Port, Admin int    // $PORT, $ADMIN
	Upstream    *Upstream
	Log         *Logbook
	URL         string   // $ORIGIN: http://localhost:$PORT, or what a load balancer in front of it has
	Store       string   // takes the place of the file store of a Caddyfile; "" leaves it
	Environment []string // of the process, beside what every one has
	Swift       bool     // without the race detector: for tests of how much, and how fast

	process *exec.Cmd
	ended   chan error // the process's end
	starts  int        // how often the log says that one before it started
}

// Start runs a gateway with this Caddyfile, see [Gateway.Fill], and stops it at the end of the test.
func Start(t testing.TB, caddyfile string) *Gateway {
	t.Helper()
	g := Prepare(t)
	g.Configure(caddyfile)
	g.Run()
	return g
}

// Prepare returns a gateway that does not run yet.
func Prepare(t testing.TB) *Gateway {
	t.Helper()
	return prepareBefore(t, newUpstream(t))
}

// prepareBefore is [Prepare] with an upstream that other gateways may have too.
func prepareBefore(t testing.TB, upstream *Upstream) *Gateway {
	t.Helper()
	g := &Gateway{T: t, Folder: t.TempDir(), Port: FreePort(t), Admin: FreePort(t), Upstream: upstream, Log: newLogbook()}
	g.URL = fmt.Sprintf("http://localhost:%d", g.Port)
	t.Cleanup(func() {
		if g.process != nil {
			g.Stop()
		}
		if key, err := os.ReadFile(filepath.Join(g.Folder, "stepgate.keys")); err == nil {
			g.Log.Secret("grant key", strings.TrimSpace(string(key)))
		}
		g.Log.leaks(t)
		if t.Failed() && testing.Verbose() {
			t.Logf("the gateway's log:\n%s", g.Log.Text())
		}
	})
	return g
}

// fileStore is where a Caddyfile names its store.
var fileStore = regexp.MustCompile(`store file \S+`)

// Fill puts this gateway's places, and its store, into a text.
func (g *Gateway) Fill(text string) string {
	if g.Store != "" {
		text = fileStore.ReplaceAllLiteralString(text, g.Store)
	}
	return strings.NewReplacer("$PORT", fmt.Sprint(g.Port), "$ADMIN", fmt.Sprint(g.Admin), "$DIR", g.Folder,
		"$ORIGIN", g.URL, "$UPSTREAM", g.Upstream.Address).Replace(text)
}

// Configure writes the Caddyfile that run and reload use.
func (g *Gateway) Configure(caddyfile string) {
	g.T.Helper()
	if strings.Contains(caddyfile, OwnCertificate) {
		g.certify()
	}
	Must(g.T, os.WriteFile(filepath.Join(g.Folder, "Caddyfile"), []byte(g.Fill(caddyfile)), 0o600))
}

// promptly keeps a process with the race detector from sleeping for a second at its end.
const promptly = "GORACE=atexit_sleep_ms=10"

// Command returns a call of the binary that can see and touch nothing but the gateway's folder.
func (g *Gateway) Command(arguments ...string) *exec.Cmd {
	program := binary
	if g.Swift {
		var err error
		program, err = swift()
		Must(g.T, err)
	}
	command := exec.Command(program, arguments...)
	command.Dir = g.Folder
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.Folder, "XDG_CONFIG_HOME=" + g.Folder + "/config", "XDG_DATA_HOME=" + g.Folder + "/data"}
	command.Env = append(append(command.Env, promptly), g.Environment...)
	return command
}

// Call runs the binary to its end and returns what it printed, and its exit code.
func (g *Gateway) Call(arguments ...string) (string, int) {
	g.T.Helper()
	out, err := g.Command(arguments...).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	Must(g.T, err)
	return string(out), 0
}

// Run starts the process and waits until it takes connections.
func (g *Gateway) Run() {
	g.T.Helper()
	g.Launch()
	g.Await()
}

// started is Caddy's word that all of its apps have started. They do in any order, and a TLS connection before that is a
// data race in Caddy 2.11.9 (caddytls.TLS is copied while it starts).
const started = "serving initial configuration"

// Launch starts the process.
func (g *Gateway) Launch() {
	g.T.Helper()
	g.starts = strings.Count(g.Log.Text(), started)
	g.process = g.Command("run", "--config", "Caddyfile")
	g.process.Stderr = g.Log
	Must(g.T, g.process.Start())
	ended := make(chan error, 1)
	g.ended = ended
	go func(process *exec.Cmd) { ended <- process.Wait() }(g.process)
}

// Await waits until the process that was launched takes connections.
func (g *Gateway) Await() {
	g.T.Helper()
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if strings.Count(g.Log.Text(), started) > g.starts && g.Listens() {
			return
		}
		select {
		case err := <-g.ended:
			g.process = nil
			g.T.Fatalf("the gateway did not start: %v\n%s", err, g.Log.Text())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			g.T.Fatalf("the gateway does not listen:\n%s", g.Log.Text())
		}
	}
}

// Listens reports whether the gateway takes connections; over TLS, whether it has its certificate yet.
func (g *Gateway) Listens() bool {
	address := fmt.Sprintf("127.0.0.1:%d", g.Port)
	var connection net.Conn
	var err error
	if at, _ := url.Parse(g.URL); at.Scheme == "https" {
		connection, err = tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, ServerName: at.Hostname()})
	} else {
		connection, err = net.Dial("tcp", address)
	}
	if err != nil {
		return false
	}
	connection.Close()
	return true
}

// Stop ends the process as an operator or an orchestrator does, and holds that it ends well.
func (g *Gateway) Stop() {
	g.T.Helper()
	Must(g.T, g.process.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-g.ended:
		if err != nil {
			g.T.Errorf("after SIGTERM: %v\n%s", err, g.Log.Text())
		}
	case <-time.After(Patience):
		_ = g.process.Process.Kill()
		<-g.ended
		g.T.Errorf("the gateway did not stop on SIGTERM:\n%s", g.Log.Text())
	}
	g.process = nil
}

// Kill ends the process as a power cut or the kernel does, in the middle of whatever it is at.
func (g *Gateway) Kill() {
	g.T.Helper()
	Must(g.T, g.process.Process.Kill())
	<-g.ended
	g.process = nil
}

// Pid is the number of the process that runs.
func (g *Gateway) Pid() int { return g.process.Process.Pid }

// Reload puts another Caddyfile in force through the binary, or returns why that was refused. The same one is put in force
// again with --force only.
func (g *Gateway) Reload(caddyfile string, flags ...string) error {
	g.T.Helper()
	g.Configure(caddyfile)
	arguments := append([]string{"reload", "--config", "Caddyfile", "--address", fmt.Sprintf("localhost:%d", g.Admin)}, flags...)
	if out, code := g.Call(arguments...); code != 0 {
		return fmt.Errorf("exit code %d: %s", code, out)
	}
	return nil
}
