package dynamotest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"time"
)

// Telling returns the endpoint of a proxy in front of DynamoDB Local, at endpoint, that says in each answer what time it is,
// as AWS does. The zero time says nothing.
func Telling(tb testing.TB, endpoint string, now func() time.Time) string {
	tb.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Date"] = nil // else the server says it by itself
		if at := now(); !at.IsZero() {
			w.Header().Set("Date", at.UTC().Format(http.TimeFormat))
		}
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(server.Close)
	return server.URL
}
