package faulttest

import (
	"crypto/rand"
	"encoding/json"
	"hash/crc32"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// answer is an answer to a client: the backend's or one made here.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the second half of the body is not sent
}

// with returns an answer with another body, its checksum included.
func (a answer) with(body []byte) answer {
	a.header, a.body = a.header.Clone(), body
	a.header.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	return a
}

// send answers a call. It is noted before that, so that a client which has its answer finds it among the calls.
func (p *Proxy) send(w http.ResponseWriter, call *Call, a answer) {
	p.mu.Lock()
	call.Status, call.Response = a.status, a.body
	p.mu.Unlock()
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if !a.cut {
		_, _ = w.Write(a.body)
		return
	}
	_, _ = w.Write(a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// The namespaces of AWS's errors, which say which layer refuses.
const (
	dynamo       = "com.amazonaws.dynamodb.v20120810#"
	service      = "com.amazon.coral.service#"
	availability = "com.amazon.coral.availability#"
)

// refusal makes the answer of a kind that never reaches the backend. Texts and shapes are AWS's own, down to "message" in
// some and "Message" in others.
func refusal(f Fault, call *Call) (answer, bool) {
	switch f.Kind {
	case Throttle:
		return problem(400, dynamo+"ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded. "+
			"Consider increasing your provisioning level with the UpdateTable API."), true
	case RequestLimit:
		return problem(400, availability+"ThrottlingException", "Rate of requests exceeds the allowed throughput."), true
	case ServerError:
		return problem(500, dynamo+"InternalServerError", "Internal server error"), true
	case HTML503:
		return answer{
			status: 503,
			header: http.Header{"Content-Type": {"text/html"}},
			body:   []byte("<html><body><b>Http/1.1 Service Unavailable</b></body> </html>"),
		}, true
	case AccessDenied:
		resource := "*"
		if len(call.Tables) > 0 {
			resource = "arn:aws:dynamodb:eu-central-1:123456789012:table/" + call.Tables[0]
		}
		action := "dynamodb:" + call.Operation
		return refuse(400, map[string]any{
			"__type": service + "AccessDeniedException",
			"Message": "User: arn:aws:sts::123456789012:assumed-role/stepgate/i-0123456789abcdef0 is not authorized to perform: " + action +
				" on resource: " + resource + " because no identity-based policy allows the " + action + " action",
		}), true
	case Expired:
		return problem(400, service+"ExpiredTokenException", "The security token included in the request is expired"), true
	case ResourceNotFound:
		return problem(400, dynamo+"ResourceNotFoundException", "Requested resource not found"), true
	case Conflict:
		if call.Operation == "TransactWriteItems" {
			conflict := reason{Code: "TransactionConflict", Message: "Transaction is ongoing for the item"}
			return cancelled(call, conflict, reason{Code: "None"}), true
		}
		return problem(400, dynamo+"TransactionConflictException", "Transaction is ongoing for the item"), true
	case ConditionFailed:
		return conditionFailed(f, call), true
	}
	return answer{}, false
}

// conditionFailed refuses a write because of the row that is there, or is said to be.
func conditionFailed(f Fault, call *Call) answer {
	const text = "The conditional request failed"
	if call.Operation == "TransactWriteItems" {
		failed := reason{Code: "ConditionalCheckFailed", Message: text, Item: f.Row}
		return cancelled(call, failed, failed)
	}
	content := map[string]any{"__type": dynamo + "ConditionalCheckFailedException", "message": text}
	if f.Row != nil {
		content["Item"] = f.Row
	}
	return refuse(400, content)
}

// reason says what was wrong with one part of a transaction.
type reason struct {
	Code    string
	Message string `json:",omitempty"`
	Item    Row    `json:",omitempty"`
}

// cancelled refuses a transaction for a reason in its first item, and one in each other.
func cancelled(call *Call, first, other reason) answer {
	var s shape
	_ = json.Unmarshal(call.Request, &s)
	codes, reasons := []string{first.Code}, []reason{first}
	for len(reasons) < len(s.TransactItems) {
		codes, reasons = append(codes, other.Code), append(reasons, other)
	}
	return refuse(400, map[string]any{
		"__type":              dynamo + "TransactionCanceledException",
		"Message":             "Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]",
		"CancellationReasons": reasons,
	})
}

func problem(status int, name, message string) answer {
	return refuse(status, map[string]any{"__type": name, "message": message})
}

func refuse(status int, content map[string]any) answer {
	body, err := json.Marshal(content)
	if err != nil {
		panic(err) // strings only
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.0"}, "X-Amzn-Requestid": {rand.Text() + rand.Text()}}
	return answer{status: status, header: header}.with(body)
}
