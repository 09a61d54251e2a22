package gatewaytest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stepgate/stepgate/internal/faulttest"
)

// Faulty is a gateway whose way to DynamoDB fails on demand. Faults are about one user each, so that many can be tried on
// one gateway at the same time.
type Faulty struct {
	*Gateway
	*Tables
	Proxy *faulttest.Proxy
}

// NewFaulty runs a [HeaderConsole] with these words for the relying party, whose path /open is open, behind such a proxy.
func NewFaulty(t *testing.T, app string) Faulty {
	t.Helper()
	f := Faulty{Gateway: Prepare(t), Tables: NewTables(t)}
	f.Proxy = faulttest.New(t, f.Endpoint)
	f.Uses(f.Tables, f.Proxy.URL, NewKey(f.Gateway))
	f.Configure(HeaderConsole(app, "open /open"))
	f.Run()
	return f
}

// Afflict makes a fault strike requests about one user only. "" afflicts every operation. What count strikes is 0 for all.
func (f Faulty) Afflict(user string, kind faulttest.Kind, count int, operations ...string) (lift func()) {
	needle := []byte(fmt.Sprintf("#%d:%s\"", len(user), user)) // ends the partition keys of a user's records
	var lifts []func()
	for _, operation := range operations {
		lifts = append(lifts, f.Proxy.Inject(faulttest.Fault{
			Operation: operation, Match: func(request []byte) bool { return bytes.Contains(request, needle) }, Kind: kind, Count: count,
		}))
	}
	return func() {
		for _, lift := range lifts {
			lift()
		}
	}
}

// Person returns a client that prepared something. Half of it may be done when DynamoDB Local was too slow: then another
// one tries.
func (f Faulty) Person(user string, prepare func(c *Client) error) (c *Client, err error) {
	tries := 0
	err = Patiently(func() error {
		tries++
		c = NewClient(f.Gateway.T, f.Gateway, fmt.Sprintf("%s-%d", user, tries))
		return prepare(c)
	})
	if err != nil {
		return nil, fmt.Errorf("before: %w", err)
	}
	return c, nil
}

// Few is how many clients keep DynamoDB Local busy for no longer than a request waits, also on a slow machine. A starved one
// gets a true 503 where a test wants none, so those that race the budget have the machine to themselves as far as this
// package goes, and are patient before and after what they test.
const Few = 4

// Patiently repeats what may be repeated while its error is that DynamoDB Local was too slow.
func Patiently(do func() error) (err error) {
	for range 5 {
		if err = do(); err == nil || !strings.Contains(err.Error(), "store_unavailable") {
			return err
		}
	}
	return err
}
