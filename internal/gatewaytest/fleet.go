package gatewaytest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Fleet is gateways that share tables, grant keys, an upstream and one origin, which is that of the load balancer in
// front of them. Clients may speak to it, or to a gateway they choose with the origin's Host.
type Fleet struct {
	*Tables
	Gateways []*Gateway
	Balancer *Gateway // runs once it is told to
}

// NewFleet prepares n gateways. They do not run yet.
func NewFleet(t testing.TB, n int) *Fleet {
	t.Helper()
	f := &Fleet{Tables: NewTables(t)}
	u := newUpstream(t)
	f.Balancer = prepareBefore(t, u)
	keys := NewKey(f.Balancer)
	for range n {
		g := prepareBefore(t, u)
		g.URL, g.Log.secrets = f.Balancer.URL, f.Balancer.Log.secrets
		g.Uses(f.Tables, f.Endpoint, keys)
		f.Gateways = append(f.Gateways, g)
	}
	return f
}

// Start runs a gateway with each of these Caddyfiles; the last is that of all further ones.
func (f *Fleet) Start(caddyfiles ...string) {
	f.T.Helper()
	for i, g := range f.Gateways {
		g.Configure(caddyfiles[min(i, len(caddyfiles)-1)])
		g.Launch()
	}
	for _, g := range f.Gateways {
		g.Await()
	}
}

// Balance runs the load balancer: the same binary, with these words in its reverse_proxy.
func (f *Fleet) Balance(words string) {
	f.T.Helper()
	var addresses []string
	for _, g := range f.Gateways {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", g.Port))
	}
	f.Balancer.Configure(`{
	admin localhost:$ADMIN
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
}
http://localhost:$PORT {
	reverse_proxy ` + strings.Join(addresses, " ") + " {\n" + words + "\n\t}\n}\n")
	f.Balancer.Run()
}

// Together calls every function at the same instant and returns when all have returned.
func Together(functions ...func()) {
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

func (f *Fleet) Upstream() *Upstream { return f.Gateways[0].Upstream }
