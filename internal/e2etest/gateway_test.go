package e2etest_test

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

// gateway is the binary at work: a process with a Caddyfile, a store and a log of its own.
type gateway struct {
	t           testing.TB
	folder      string // $DIR: working directory, home, store
	port, admin int    // $PORT, $ADMIN
	upstream    *upstream
	log         *logbook
	url         string   // $ORIGIN: http://localhost:$PORT, or what a load balancer in front of it has
	store       string   // takes the place of the file store of a Caddyfile; "" leaves it
	environment []string // of the process, beside what every one has

	process *exec.Cmd
	ended   chan error // the process's end
	starts  int        // how often the log says that one before it started
}

// start runs a gateway with this Caddyfile, see [gateway.fill], and stops it at the end of the test.
func start(t testing.TB, caddyfile string) *gateway {
	t.Helper()
	g := prepare(t)
	g.configure(caddyfile)
	g.run()
	return g
}

// prepare returns a gateway that does not run yet.
func prepare(t testing.TB) *gateway {
	t.Helper()
	return prepareBefore(t, newUpstream(t))
}

// prepareBefore is prepare with an upstream that other gateways may have too.
func prepareBefore(t testing.TB, upstream *upstream) *gateway {
	t.Helper()
	g := &gateway{t: t, folder: t.TempDir(), port: freePort(t), admin: freePort(t), upstream: upstream, log: newLogbook()}
	g.url = fmt.Sprintf("http://localhost:%d", g.port)
	t.Cleanup(func() {
		if g.process != nil {
			g.stop()
		}
		if key, err := os.ReadFile(filepath.Join(g.folder, "stepgate.keys")); err == nil {
			g.log.secret("grant key", strings.TrimSpace(string(key)))
		}
		g.log.leaks(t)
		if t.Failed() && testing.Verbose() {
			t.Logf("the gateway's log:\n%s", g.log.text())
		}
	})
	return g
}

// fileStore is where a Caddyfile names its store.
var fileStore = regexp.MustCompile(`store file \S+`)

// fill puts this gateway's places, and its store, into a text.
func (g *gateway) fill(text string) string {
	if g.store != "" {
		text = fileStore.ReplaceAllLiteralString(text, g.store)
	}
	return strings.NewReplacer("$PORT", fmt.Sprint(g.port), "$ADMIN", fmt.Sprint(g.admin), "$DIR", g.folder,
		"$ORIGIN", g.url, "$UPSTREAM", g.upstream.address).Replace(text)
}

// configure writes the Caddyfile that run and reload use.
func (g *gateway) configure(caddyfile string) {
	g.t.Helper()
	if strings.Contains(caddyfile, ownCertificate) {
		g.certify()
	}
	must(g.t, os.WriteFile(filepath.Join(g.folder, "Caddyfile"), []byte(g.fill(caddyfile)), 0o600))
}

// promptly keeps a process with the race detector from sleeping for a second at its end.
const promptly = "GORACE=atexit_sleep_ms=10"

// command returns a call of the binary that can see and touch nothing but the gateway's folder.
func (g *gateway) command(arguments ...string) *exec.Cmd {
	command := exec.Command(binary, arguments...)
	command.Dir = g.folder
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + g.folder, "XDG_CONFIG_HOME=" + g.folder + "/config", "XDG_DATA_HOME=" + g.folder + "/data"}
	command.Env = append(append(command.Env, promptly), g.environment...)
	return command
}

// call runs the binary to its end and returns what it printed, and its exit code.
func (g *gateway) call(arguments ...string) (string, int) {
	g.t.Helper()
	out, err := g.command(arguments...).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	must(g.t, err)
	return string(out), 0
}

// run starts the process and waits until it takes connections.
func (g *gateway) run() {
	g.t.Helper()
	g.launch()
	g.await()
}

// started is Caddy's word that all of its apps have started. They do in any order, and a TLS connection before that is a
// data race in Caddy 2.11.9 (caddytls.TLS is copied while it starts).
const started = "serving initial configuration"

// launch starts the process.
func (g *gateway) launch() {
	g.t.Helper()
	g.starts = strings.Count(g.log.text(), started)
	g.process = g.command("run", "--config", "Caddyfile")
	g.process.Stderr = g.log
	must(g.t, g.process.Start())
	ended := make(chan error, 1)
	g.ended = ended
	go func(process *exec.Cmd) { ended <- process.Wait() }(g.process)
}

// await waits until the process that was launched takes connections.
func (g *gateway) await() {
	g.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if strings.Count(g.log.text(), started) > g.starts && g.listens() {
			return
		}
		select {
		case err := <-g.ended:
			g.process = nil
			g.t.Fatalf("the gateway did not start: %v\n%s", err, g.log.text())
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("the gateway does not listen:\n%s", g.log.text())
		}
	}
}

// listens reports whether the gateway takes connections; over TLS, whether it has its certificate yet.
func (g *gateway) listens() bool {
	address := fmt.Sprintf("127.0.0.1:%d", g.port)
	var connection net.Conn
	var err error
	if at, _ := url.Parse(g.url); at.Scheme == "https" {
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

// stop ends the process as an operator or an orchestrator does, and holds that it ends well.
func (g *gateway) stop() {
	g.t.Helper()
	must(g.t, g.process.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-g.ended:
		if err != nil {
			g.t.Errorf("after SIGTERM: %v\n%s", err, g.log.text())
		}
	case <-time.After(patience):
		_ = g.process.Process.Kill()
		<-g.ended
		g.t.Errorf("the gateway did not stop on SIGTERM:\n%s", g.log.text())
	}
	g.process = nil
}

// reload puts another Caddyfile in force through the binary, or returns why that was refused. The same one is put in force
// again with --force only.
func (g *gateway) reload(caddyfile string, flags ...string) error {
	g.t.Helper()
	g.configure(caddyfile)
	arguments := append([]string{"reload", "--config", "Caddyfile", "--address", fmt.Sprintf("localhost:%d", g.admin)}, flags...)
	if out, code := g.call(arguments...); code != 0 {
		return fmt.Errorf("exit code %d: %s", code, out)
	}
	return nil
}
