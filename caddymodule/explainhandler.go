package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// isFactor reports whether a handler signs people in.
func isFactor(h *handlerNode) bool {
	return h.name == "authentication" || h.name == "reverse_proxy" && isForwardAuth(h)
}

// isForwardAuth reports whether a reverse_proxy asks another server about the request and then hands it on.
func isForwardAuth(h *handlerNode) bool {
	var proxy struct {
		Rewrite struct {
			Method string `json:"method"`
		} `json:"rewrite"`
		HandleResponse []struct {
			Match struct {
				StatusCode []int `json:"status_code"`
			} `json:"match"`
		} `json:"handle_response"`
	}
	if json.Unmarshal(h.raw, &proxy) != nil || proxy.Rewrite.Method != http.MethodGet {
		return false
	}
	for _, response := range proxy.HandleResponse {
		if slices.Contains(response.Match.StatusCode, 2) || slices.Contains(response.Match.StatusCode, 200) {
			return true
		}
	}
	return false
}

type headerOps struct {
	Request struct {
		Add     map[string]json.RawMessage `json:"add"`
		Set     map[string]json.RawMessage `json:"set"`
		Delete  []string                   `json:"delete"`
		Replace map[string]json.RawMessage `json:"replace"`
	} `json:"request"`
}

func headerChanges(h *handlerNode) (sets, deletes []string) {
	var ops headerOps
	if h.name != "headers" || json.Unmarshal(h.raw, &ops) != nil {
		return nil, nil
	}
	for field := range ops.Request.Set {
		sets = append(sets, http.CanonicalHeaderKey(field))
	}
	for _, field := range ops.Request.Delete {
		deletes = append(deletes, http.CanonicalHeaderKey(field))
	}
	slices.Sort(sets)
	return sets, deletes
}

// copiedHeaders returns the headers that a forward_auth sets or deletes whatever the answer holds. One that it sets only
// when the answer has it stays a client's otherwise (GHSA-7r4p-vjf4-gxv4).
func copiedHeaders(h *handlerNode) (sets, deletes []string) {
	var proxy struct {
		HandleResponse []struct {
			Routes []rawRoute `json:"routes"`
		} `json:"handle_response"`
	}
	_ = json.Unmarshal(h.raw, &proxy)
	for _, response := range proxy.HandleResponse {
		for _, route := range response.Routes {
			if len(route.Match) > 0 {
				continue
			}
			for _, raw := range route.Handle {
				some, others := headerChanges(&handlerNode{name: moduleName(raw), raw: raw})
				sets, deletes = append(sets, some...), append(deletes, others...)
			}
		}
	}
	return sets, deletes
}

func moduleName(raw json.RawMessage) string {
	var shape struct {
		Handler string `json:"handler"`
	}
	_ = json.Unmarshal(raw, &shape)
	return shape.Handler
}

// answersAlways reports whether a handler answers every request that it gets.
func answersAlways(h *handlerNode) bool {
	switch h.name {
	case "reverse_proxy", "static_response", "error", "acme_server", "metrics", "stepgate_health", "copy_response":
		return true
	case "file_server":
		var files struct {
			PassThru bool `json:"pass_thru"`
		}
		_ = json.Unmarshal(h.raw, &files)
		return !files.PassThru
	}
	return false
}

// dials returns where a reverse_proxy sends requests.
func dials(h *handlerNode) (list []string) {
	var proxy struct {
		Upstreams []struct {
			Dial string `json:"dial"`
		} `json:"upstreams"`
	}
	if h.name == "reverse_proxy" && json.Unmarshal(h.raw, &proxy) == nil {
		for _, upstream := range proxy.Upstreams {
			list = append(list, upstream.Dial)
		}
	}
	return list
}

// describeAnswer names a handler that answers, and what it answers where its configuration says so.
func describeAnswer(h *handlerNode) (by string, status int, location string) {
	var static struct {
		Status   caddyhttp.WeakString `json:"status_code"`
		Headers  http.Header          `json:"headers"`
		Body     string               `json:"body"`
		Abort    bool                 `json:"abort"`
		Upstream json.RawMessage      `json:"upstreams"`
	}
	_ = json.Unmarshal(h.raw, &static)
	switch h.name {
	case "reverse_proxy":
		return strings.TrimSpace("reverse_proxy " + strings.Join(dials(h), " ")), 0, ""
	case "static_response":
		status, err := strconv.Atoi(string(static.Status))
		switch {
		case static.Abort:
			return "abort", 0, ""
		case err != nil && static.Status != "":
			status = 0
		case err != nil:
			status = http.StatusOK
		}
		if to := static.Headers.Get("Location"); to != "" {
			return fmt.Sprintf("redir %s", to), status, to
		}
		return "respond", status, ""
	case "error":
		status, err := strconv.Atoi(string(static.Status))
		if err != nil {
			status = http.StatusInternalServerError
		}
		return "error", status, ""
	}
	return h.name, 0, ""
}
