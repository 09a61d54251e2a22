package gatewaytest

import (
	"encoding/json"
	"testing"
)

// Problem is what the gateway answers instead of a page.
type Problem struct {
	Code      string `json:"code"`
	Reason    string `json:"reason"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Status    int    `json:"status"`
	StepUpURL string `json:"step_up_url"`
	MaxAge    int64  `json:"max_age"`
	Level     string `json:"level"`
	RequestID string `json:"request_id"`
}

func ProblemIn(t testing.TB, body []byte) (p Problem) {
	t.Helper()
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatalf("not a problem: %v: %s", err, body)
	}
	return p
}
