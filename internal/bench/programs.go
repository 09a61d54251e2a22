package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stepgate/stepgate/internal/bench/report"
)

// program is one of those that are started, reloaded and weighed: Caddy as its makers build it, or with something in it.
type program struct {
	name   string
	binary string
	gated  bool // its site has a stepgate block
	kind   report.Kind
}

// plain, and the same once more: what the two differ by is what the measurement can't tell from nothing.
const (
	plainName = "Caddy"
	againName = "Caddy, once more"
	awsName   = "Caddy, AWS SDK linked in"
	ourName   = "Stepgate"
)

// withSDK is Caddy's own main, and the packages of the AWS SDK that a DynamoDB store needs. Nothing calls them.
const withSDK = `package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/aws/aws-sdk-go-v2/config"
	_ "github.com/aws/aws-sdk-go-v2/service/dynamodb"
)

func main() { caddycmd.Main() }
`

// programs builds what is compared.
func (l *lab) programs(ctx context.Context) ([]program, error) {
	plain, err := l.compile(ctx, "caddy", "github.com/caddyserver/caddy/v2/cmd/caddy")
	if err != nil {
		return nil, err
	}
	aws, err := l.compileText(ctx, "caddy-aws", withSDK)
	if err != nil {
		return nil, err
	}
	ours, err := l.build(ctx, "cmd/stepgate")
	if err != nil {
		return nil, err
	}
	return []program{
		{plainName, plain, false, report.Baseline},
		{againName, plain, false, report.Baseline},
		{awsName, aws, false, report.Other},
		{ourName, ours, true, report.Ours},
	}, nil
}

// compileText builds a command that is in no folder, but with what this module requires.
func (l *lab) compileText(ctx context.Context, name, text string) (string, error) {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	source, overlay := filepath.Join(l.folder, name+".go"), filepath.Join(l.folder, name+".json")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return "", err
	}
	replaced, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, "cmd", name, "main.go"): source}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, replaced, 0o600); err != nil {
		return "", err
	}
	return l.compile(ctx, name, module+"/cmd/"+name, "-overlay", overlay)
}

// site is what a program is configured with: one site that answers at once, and so many routes with something about each.
//
// With Stepgate they are the rules of a block, each with a path of its own. Without it they are what a Caddyfile has in
// their place, when what guards a path is a handler with a matcher: a route each, with the same path and one handler.
type site struct {
	program
	folder      string
	port, admin int
	routes      int
	options     []string // more lines of the global option stepgate
	upstream    string   // the address of what the site is in front of; "" for an answer of its own
}

func (l *lab) site(of program, folder string, routes int) (*site, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return &site{program: of, folder: filepath.Join(l.folder, folder), port: ports[0], admin: ports[1], routes: routes}, nil
}

func (s *site) origin() string { return fmt.Sprintf("http://localhost:%d", s.port) }

// store is the file of a gated site's store.
func (s *site) store() string { return filepath.Join(s.folder, "stepgate.db") }

// answer is what every site says.
const answer = "hello"

func (s *site) caddyfile() string {
	text := new(strings.Builder)
	fmt.Fprintf(text, "{\n\tadmin 127.0.0.1:%d\n\tpersist_config off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n\tservers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}\n", s.admin)
	if s.gated {
		fmt.Fprintf(text, "\tstepgate {\n\t\trp_id localhost\n\t\torigins %s\n\t\tstore file %s\n", s.origin(), s.store())
		for _, option := range s.options {
			fmt.Fprintf(text, "\t\t%s\n", option)
		}
		text.WriteString("\t}\n")
	}
	fmt.Fprintf(text, "}\n%s {\n", s.origin())
	if s.gated {
		text.WriteString("\tstepgate {\n\t\tuser {header.X-User}\n\t\topen /open\n")
	}
	for i := range s.routes {
		if s.gated {
			fmt.Fprintf(text, "\t\tprotect /area%d/*\n", i)
		} else {
			fmt.Fprintf(text, "\theader /area%d/* X-Area protected\n", i)
		}
	}
	if s.gated {
		text.WriteString("\t}\n")
	}
	if s.upstream != "" {
		fmt.Fprintf(text, "\treverse_proxy %s\n}\n", s.upstream)
	} else {
		fmt.Fprintf(text, "\trespond %s\n}\n", answer)
	}
	return text.String()
}

// prepare writes the Caddyfile and returns what it becomes.
func (s *site) prepare(ctx context.Context) (adapted []byte, err error) {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return nil, err
	}
	file := filepath.Join(s.folder, "Caddyfile")
	if err := os.WriteFile(file, []byte(s.caddyfile()), 0o600); err != nil {
		return nil, err
	}
	text, err := output(ctx, s.binary, "adapt", "--config", file)
	return []byte(text), err
}

// running is a site's program at work.
type running struct {
	*site
	*process
	admin admin
	took  time.Duration // from its start to its first answer
}

// run starts the program, and returns when it has answered its first request. A stop is the caller's.
func (l *lab) run(ctx context.Context, s *site) (*running, error) {
	folder, err := filepath.Rel(l.folder, s.folder)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := l.start(ctx, folder, s.binary, "run", "--config", "Caddyfile")
	if err != nil {
		return nil, err
	}
	r := &running{site: s, process: p, admin: newAdmin(s.admin)}
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if s.answers() {
			r.took = time.Since(began)
			return r, nil
		}
		select {
		case <-tick.C:
		case <-p.ended:
			return nil, fmt.Errorf("%s ended: %w\n%s", s.name, p.err, p.output)
		case <-late:
			_, _ = p.kill()
			return nil, fmt.Errorf("%s does not answer\n%s", s.name, p.output)
		}
	}
}

// answers reports whether the site answers a request for its open route, over a connection of its own.
func (s *site) answers() bool {
	connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		return false
	}
	defer connection.Close()
	if connection.SetDeadline(time.Now().Add(patience)) != nil {
		return false
	}
	if _, err := fmt.Fprintf(connection, "GET /open HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", s.port); err != nil {
		return false
	}
	got, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return false
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	return err == nil && got.StatusCode == http.StatusOK && bytes.Equal(body, []byte(answer))
}
