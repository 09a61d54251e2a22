package e2etest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// fleet is gateways that share tables, grant keys, an upstream and one origin, which is that of the load balancer in
// front of them. Clients may speak to it, or to a gateway they choose with the origin's Host.
type fleet struct {
	*tables
	gateways []*gateway
	balancer *gateway // runs once it is told to
}

// newFleet prepares n gateways. They do not run yet.
func newFleet(t testing.TB, n int) *fleet {
	t.Helper()
	f := &fleet{tables: newTables(t)}
	u := newUpstream(t)
	f.balancer = prepareBefore(t, u)
	keys := newKey(f.balancer)
	for range n {
		g := prepareBefore(t, u)
		g.url, g.log.secrets = f.balancer.url, f.balancer.log.secrets
		g.uses(f.tables, f.endpoint, keys)
		f.gateways = append(f.gateways, g)
	}
	return f
}

// start runs a gateway with each of these Caddyfiles; the last is that of all further ones.
func (f *fleet) start(caddyfiles ...string) {
	f.t.Helper()
	for i, g := range f.gateways {
		g.configure(caddyfiles[min(i, len(caddyfiles)-1)])
		g.launch()
	}
	for _, g := range f.gateways {
		g.await()
	}
}

// balance runs the load balancer: the same binary, with these words in its reverse_proxy.
func (f *fleet) balance(words string) {
	f.t.Helper()
	var addresses []string
	for _, g := range f.gateways {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", g.port))
	}
	f.balancer.configure(`{
	admin localhost:$ADMIN
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
}
http://localhost:$PORT {
	reverse_proxy ` + strings.Join(addresses, " ") + " {\n" + words + "\n\t}\n}\n")
	f.balancer.run()
}

// together calls every function at the same instant and returns when all have returned.
func together(functions ...func()) {
	var wait sync.WaitGroup
	begin := make(chan struct{})
	for _, f := range functions {
		wait.Go(func() {
			<-begin
			f()
		})
	}
	close(begin)
	wait.Wait()
}

func (f *fleet) upstream() *upstream { return f.gateways[0].upstream }
