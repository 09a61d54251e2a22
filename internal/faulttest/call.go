package faulttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Call is a request as it came to the proxy, and what became of it so far.
type Call struct {
	Operation string   // such as "PutItem"
	Tables    []string // that it names, sorted
	Attempt   int      // of the AWS SDK, from 1; 0 if the client does not say
	Request   []byte   // body

	Backend  int    // status of the backend's answer; 0: it was not asked or has not answered
	Status   int    // what the client is answered; 0: nothing
	Response []byte // body of that
}

func (c Call) String() string {
	return fmt.Sprintf("%s %s attempt %d: %d, backend %d", c.Operation, strings.Join(c.Tables, ","), c.Attempt, c.Status, c.Backend)
}

// Calls returns all calls since the last Take, in the order of their arrival. A client's own call is complete as soon as
// it has its answer.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.copied()
}

// Take is [Proxy.Calls], and forgets them.
func (p *Proxy) Take() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.copied()
	p.calls = nil
	return list
}

func (p *Proxy) copied() []Call {
	list := make([]Call, 0, len(p.calls))
	for _, c := range p.calls {
		list = append(list, *c)
	}
	return list
}

func (p *Proxy) record(r *http.Request, body []byte) *Call {
	c := &Call{Request: body, Tables: tables(body)}
	_, c.Operation, _ = strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	_, _ = fmt.Sscanf(r.Header.Get("Amz-Sdk-Request"), "attempt=%d", &c.Attempt)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
	return c
}

// shape is what requests of DynamoDB say of tables.
type shape struct {
	TableName     string
	TransactItems []map[string]struct{ TableName string } // by "Put", "Update", …
	RequestItems  map[string]json.RawMessage              // by table, in batches
}

func tables(request []byte) []string {
	var s shape
	if json.Unmarshal(request, &s) != nil {
		return nil
	}
	list := slices.Collect(maps.Keys(s.RequestItems))
	if s.TableName != "" {
		list = append(list, s.TableName)
	}
	for _, item := range s.TransactItems {
		for _, action := range item {
			list = append(list, action.TableName)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
