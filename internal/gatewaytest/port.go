package gatewaytest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// ports are those handed out so far: a port is free again to the system before its gateway has taken it.
var ports struct {
	mu    sync.Mutex
	taken map[int]bool
}

// FreePort returns a port on which nobody listens, TCP and UDP. It lies below the range that systems hand out for
// outgoing connections, so that none of those takes it before its gateway does, or while that is restarted.
func FreePort(t testing.TB) int {
	t.Helper()
	ports.mu.Lock()
	defer ports.mu.Unlock()
	if ports.taken == nil {
		ports.taken = map[int]bool{}
	}
	for range 100 {
		port := 20000 + rand.IntN(12000)
		if ports.taken[port] {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		listener.Close()
		packets, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		packets.Close()
		ports.taken[port] = true
		return port
	}
	t.Fatal("no free port found")
	return 0
}
