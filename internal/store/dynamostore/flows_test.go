package dynamostore_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/stepgate/stepgate/internal/authtest"
	"github.com/stepgate/stepgate/internal/ceremony"
	"github.com/stepgate/stepgate/internal/faulttest"
	"github.com/stepgate/stepgate/internal/passkey"
	"github.com/stepgate/stepgate/internal/store/dynamostore"
)

// DynamoDB Local reports what single calls consume as AWS bills it, but not transactions (4 units for one item or three,
// where AWS has 2 for each) nor a query that finds nothing (0, where AWS has 1). So units are counted by AWS's rules
// (Amazon DynamoDB Developer Guide, "DynamoDB throughput capacity"), which are simple while an item is within 1 KB and an
// account within 4 KB, as the test sees to; what is reported for single calls must agree.

// The prices that docs/dynamodb.md counts with: on demand, us-east-1, US dollars for a million units.
const (
	writePrice = 0.625
	readPrice  = 0.125
)

// meter counts what the store calls.
type meter struct {
	t     testing.TB
	mu    sync.Mutex
	calls map[string]int
	spans []span
}

type span struct{ from, to time.Time }

func (m *meter) observe(c dynamostore.Call) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[c.Operation]++
	now := time.Now()
	m.spans = append(m.spans, span{now.Add(-c.Took), now})
	want := map[string][2]float64{"Query": {1, 0}, "PutItem": {0, 1}, "UpdateItem": {0, 1}, "DeleteItem": {0, 1}}
	if got := [2]float64{c.ReadUnits, c.WriteUnits}; c.Operation != "TransactWriteItems" && got != want[c.Operation] && got != [2]float64{} {
		m.t.Errorf("%s consumed %v, counted as %v", c.Operation, got, want[c.Operation])
	}
}

func (m *meter) reset() { m.calls, m.spans = map[string]int{}, nil }

// units returns what the calls consume: writes and reads. together is how many items transactions wrote.
func (m *meter) units(together int) (writes, reads int) {
	return m.calls["PutItem"] + m.calls["UpdateItem"] + m.calls["DeleteItem"] + 2*together, m.calls["Query"] + m.calls["GetItem"]
}

// row is a line of the table in the documentation.
func (m *meter) row(flow string, together int) string {
	var calls []string
	for _, operation := range slices.Sorted(maps.Keys(m.calls)) {
		if n := m.calls[operation]; n > 1 {
			operation = fmt.Sprintf("%d %s", n, operation)
		}
		calls = append(calls, operation)
	}
	writes, reads := m.units(together)
	price := float64(writes)*writePrice + float64(reads)*readPrice
	return fmt.Sprintf("| %s | %d | %s | %d | %d | $%.3f |", flow, m.roundTrips(), strings.Join(calls, ", "), writes, reads, price)
}

// What each flow calls and consumes, counted on real calls with real passkeys, and held to the documentation.
func TestFlows(t *testing.T) {
	m := &meter{t: t}
	m.reset()
	tables := newTables(t)
	proxy := faulttest.New(t, endpoint)
	proxy.Inject(faulttest.Fault{Kind: faulttest.Delay, Delay: 250 * time.Millisecond})
	store := tables.open(dynamostore.Options{Endpoint: proxy.URL, Observe: m.observe}).For(rpID)
	const origin = "https://example.com"
	service, err := ceremony.New(ceremony.Config{RPID: rpID, RPName: "Example operations", Origins: []string{origin}, Store: store, Recall: true})
	must(t, err)
	ada := ceremony.Party{User: "ada.lovelace@example.com", Origin: origin, Browser: passkey.DigestOf("browser"), Session: passkey.DigestOf("session")}
	laptop, phone := authtest.New(authtest.Config{}), authtest.New(authtest.Config{Synced: true, Transports: []string{"internal", "hybrid"}})
	ctx := t.Context()
	stepUp := ceremony.Purpose{Action: passkey.StepUp, Level: passkey.Verified}

	var table []string
	flow := func(name string, run func()) {
		t.Helper()
		m.reset()
		proxy.Take()
		run()
		together := 0
		for _, call := range proxy.Take() {
			if call.Operation == "TransactWriteItems" {
				var request struct{ TransactItems []any }
				must(t, json.Unmarshal(call.Request, &request))
				together += len(request.TransactItems)
			}
		}
		table = append(table, m.row(name, together))
		var account int
		for _, table := range []string{tables.passkeys, tables.challenges} {
			for _, it := range tables.items(table) {
				n := size(it)
				if n > 1024 {
					t.Errorf("%s: an item of %d bytes, counted as one unit", name, n)
				}
				account += n
			}
		}
		if account > 4096 {
			t.Errorf("%s: an account of %d bytes, counted as one unit", name, account)
		}
	}
	have := func(text []byte, err error) []byte {
		t.Helper()
		must(t, err)
		return text
	}

	var options, reply []byte
	var codes []string
	flow("first passkey: start", func() {
		begun, err := service.StartRegistration(ctx, ada, "", nil)
		must(t, err)
		options = begun.Options
	})
	reply = have(laptop.Register(options, origin))
	flow("first passkey: finish", func() {
		registered, err := service.FinishRegistration(ctx, ada, ceremony.Naming{Name: "Laptop"}, reply)
		must(t, err)
		codes = registered.Codes
	})
	flow("step-up: start", func() { options = have(service.Start(ctx, ada, stepUp)) })
	reply = have(laptop.Authenticate(options, origin))
	flow("step-up: finish", func() { _, err := service.Finish(ctx, ada, stepUp, reply); must(t, err) })
	flow("step-up within a minute of the last, same gateway and browser: start", func() { options = have(service.Start(ctx, ada, stepUp)) })
	reply = have(laptop.Authenticate(options, origin))
	flow("step-up within a minute of the last, no sign count: finish", func() { _, err := service.Finish(ctx, ada, stepUp, reply); must(t, err) })
	flow("protected request, view older than `revocation_lag`", func() { _, err := service.Account(ctx, ada.User); must(t, err) })
	add := ceremony.Purpose{Action: passkey.Add}
	reply = have(laptop.Authenticate(have(service.Start(ctx, ada, add)), origin))
	flow("another passkey: authorized and started", func() {
		begun, err := service.StartRegistration(ctx, ada, "", reply)
		must(t, err)
		options = begun.Options
	})
	reply = have(phone.Register(options, origin))
	flow("another passkey: finish", func() {
		_, err := service.FinishRegistration(ctx, ada, ceremony.Naming{Name: "Phone"}, reply)
		must(t, err)
	})
	account, err := service.Account(ctx, ada.User)
	must(t, err)
	second := account.Passkeys[1].ShortID()
	flow("rename", func() { _, err := service.Rename(ctx, ada.User, second, "Tablet"); must(t, err) })
	remove := ceremony.Purpose{Action: passkey.Remove, Target: second}
	reply = have(laptop.Authenticate(have(service.Start(ctx, ada, remove)), origin))
	flow("remove, authorized", func() { _, err := service.Remove(ctx, ada, second, reply, false); must(t, err) })
	flow("log out", func() { must(t, service.Revoke(ctx, ada.User)) })

	flow("recovery code: start", func() { options = have(service.StartRecovered(ctx, ada, "", codes[0])) })
	reply = have(authtest.New(authtest.Config{}).Register(options, origin))
	flow("recovery code: finish", func() {
		_, err := service.FinishRegistration(ctx, ada, ceremony.Naming{Name: "New phone"}, reply)
		must(t, err)
	})
	reply = have(laptop.Authenticate(have(service.Start(ctx, ada, ceremony.Purpose{Action: passkey.MakeCodes})), origin))
	flow("new recovery codes, authorized", func() { _, err := service.MakeCodes(ctx, ada, reply); must(t, err) })

	text := strings.Join(table, "\n")
	t.Logf("for docs/dynamodb.md:\n%s", text)
	documented, err := os.ReadFile("../../../docs/dynamodb.md")
	must(t, err)
	for _, row := range table {
		if !strings.Contains(string(documented), row+"\n") {
			t.Errorf("docs/dynamodb.md does not have\n%s", row)
		}
	}
}

// roundTrips counts how often a flow waited for DynamoDB: calls under way at the same time count as one. Each call is
// delayed, so that it is plain which were.
func (m *meter) roundTrips() (trips int) {
	slices.SortFunc(m.spans, func(a, b span) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, s := range m.spans {
		if !s.from.Before(until) {
			trips++
		}
		if s.to.After(until) {
			until = s.to
		}
	}
	return trips
}

// size returns an item's size as AWS counts it (Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats"), numbers
// rounded up.
func size(it item) (n int) {
	var of func(value types.AttributeValue) int
	of = func(value types.AttributeValue) int {
		switch v := value.(type) {
		case *types.AttributeValueMemberS:
			return len(v.Value)
		case *types.AttributeValueMemberB:
			return len(v.Value)
		case *types.AttributeValueMemberN:
			return len(v.Value)/2 + 2
		case *types.AttributeValueMemberL:
			total := 3
			for _, element := range v.Value {
				total += 1 + of(element)
			}
			return total
		case *types.AttributeValueMemberM:
			return 3 + len(v.Value) + size(v.Value)
		}
		return 1
	}
	for name, value := range it {
		n += len(name) + of(value)
	}
	return n
}
