package faulttest

import (
	"fmt"
	"slices"
	"time"
)

// Fault is what goes wrong with which requests. Of several that match a request the one injected first strikes, alone.
type Fault struct {
	Operation string                    // such as "PutItem"; empty: every one
	Table     string                    // one that the request names; empty: any or none
	Match     func(request []byte) bool // looks at the request's body; nil: any. It is called under a lock, one at a time

	Skip  int // so many matching requests pass first
	Count int // so many are struck then; 0: until it is lifted

	Kind Kind
	// Delay comes before whatever the kind does. Lifting the fault ends it.
	Delay time.Duration
	// Rewrite replaces the body of an answer that the backend gave; see [Rows]. The checksum is made to fit.
	Rewrite func(response []byte) []byte
	// Row is the row that ConditionFailed and ConditionFailedAfter show as the one that is there; nil: none is.
	Row Row
}

// Kind is a way to fail. The zero value is Delay.
type Kind int

// The kinds. Only where it says so does the request reach the backend.
const (
	// Delay forwards the request after Fault.Delay, also when its client has gone by then: a write that comes late.
	Delay Kind = iota
	// Hold forwards the request when the fault is lifted, also when its client has gone by then.
	Hold
	// HoldAfter forwards the request and keeps the answer until the fault is lifted.
	HoldAfter
	// Hang keeps the request until its client goes, or closes the connection when the fault is lifted.
	Hang
	// HangAfter forwards the request, keeps the answer for good and is otherwise like Hang.
	HangAfter

	Throttle         // 400 ProvisionedThroughputExceededException
	RequestLimit     // 400 ThrottlingException
	ServerError      // 500 InternalServerError
	HTML503          // 503 with a page of HTML, as from a load balancer
	AccessDenied     // 400 AccessDeniedException: credentials without the permission
	Expired          // 400 ExpiredTokenException: credentials that are too old
	ResourceNotFound // 400 ResourceNotFoundException: no such table
	Conflict         // 400 TransactionConflictException; TransactWriteItems: TransactionCanceledException with that as the first item's reason
	ConditionFailed  // 400 ConditionalCheckFailedException; TransactWriteItems: TransactionCanceledException with that as every item's reason

	DropBefore  // closes the connection
	DropAfter   // forwards the request, then closes the connection
	ResetBefore // closes the connection with a TCP reset
	ResetAfter  // forwards the request, then closes the connection with a TCP reset
	Truncate    // forwards the request, answers all headers and half of the body, then closes the connection
	Garble      // forwards the request, answers 200 with a body that is no JSON

	ConditionFailedAfter // forwards the request, then answers as ConditionFailed
)

var kinds = []string{"Delay", "Hold", "HoldAfter", "Hang", "HangAfter", "Throttle", "RequestLimit", "ServerError", "HTML503", "AccessDenied",
	"Expired", "ResourceNotFound", "Conflict", "ConditionFailed", "DropBefore", "DropAfter", "ResetBefore", "ResetAfter", "Truncate", "Garble",
	"ConditionFailedAfter"}

func (k Kind) String() string {
	if k < 0 || int(k) >= len(kinds) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kinds[k]
}

// injected is a fault in place. Its counts belong to the proxy's lock.
type injected struct {
	Fault
	seen   int
	lifted chan struct{}
}

// strikes counts a call that matches and reports whether it is one of those to fail.
func (i *injected) strikes(call *Call) bool {
	switch {
	case i.Operation != "" && i.Operation != call.Operation,
		i.Table != "" && !slices.Contains(call.Tables, i.Table),
		i.Match != nil && !i.Match(call.Request):
		return false
	}
	i.seen++
	return i.seen > i.Skip && (i.Count == 0 || i.seen <= i.Skip+i.Count)
}
