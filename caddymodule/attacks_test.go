package caddymodule_test

import (
	"strconv"
	"strings"
)

// attacks are requests as a client would write them on the wire: attacks of the groups A to E and G, and beside each group
// the same request done right.
func attacks() (all []string) {
	request := func(method, target string, headers ...string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: {host}\r\n" + strings.Join(append(headers, ""), "\r\n") + "\r\n"
	}
	with := func(body string, headers ...string) []string {
		return append(headers, "Content-Length: "+strconv.Itoa(len(body)), "", body)
	}
	const holds, holdsLess = "Cookie: stepgate={strong}", "Cookie: stepgate={weak}"
	api := []string{"Content-Type: application/json", "Sec-Fetch-Site: same-origin", "Origin: http://{host}"}

	// Done right.
	all = append(all, request("GET", "/admin/x", holds), request("GET", "/admin/x?y=1", holdsLess), request("GET", "/hard/x", holds), request("GET", "/open/x"),
		request("POST", "/api", with("body", holds)...), request("GET", "/.stepgate/status", holds), request("GET", "/.stepgate/passkeys", "Accept: text/html"),
		request("GET", "/.stepgate/challenge?return_to=/admin"), request("GET", "/.well-known/webauthn"), request("GET", "/.well-known/passkey-endpoints"),
		request("GET", "/admin/x", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), request("GET", "/admin/x", "Accept: text/html"))
	// A: ceremonies that nobody started, and bodies of every kind.
	for _, path := range []string{"/challenge/options", "/challenge/verify", "/passkeys/options", "/passkeys", "/passkeys/authorize/options", "/recovery-codes"} {
		for _, body := range []string{
			`{"return_to":"/admin"}`, `{"demand":"x"}`, `{}`, `[]`, `{"action":"add"}`, `{"name":"x"}`, `{"credential":{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30"}}}`,
			`{"return_to":"/","return_to":"/admin"}`, `{"Return_to":"/"}`, strings.Repeat("[", 200), `{"authorization":{}}`, `{"recovery_code":"AAAA-AAAA"}`, "{\"name\":\"\xff\"}",
		} {
			all = append(all, request("POST", "/.stepgate"+path, with(body, api...)...))
		}
	}
	// B: grants that are not good here, and some that are, written otherwise.
	for _, cookie := range []string{
		"stepgate={stale}", "stepgate={future}", "stepgate={bob}", "stepgate={elsewhere}", "stepgate={session}", "stepgate={revoked}", "stepgate={removed}", "stepgate={strong}A", "stepgate={strong}=",
		"Stepgate={strong}", "__Host-stepgate={strong}", "stepgate ={strong}", "stepgate=\"{strong}\"", "stepgate={bob}; stepgate={strong}", "stepgate={strong}; stepgate={bob}", "a=b; stepgate={weak}; c=d", "stepgate=",
		"stepgate-ceremony=x.y", "a=1, stepgate={strong}", "stepgate={strong}\r\nCookie: stepgate={bob}",
	} {
		all = append(all, request("GET", "/hard/x", "Cookie: "+cookie), request("GET", "/open/x", "Cookie: "+cookie))
	}
	// C: paths, with the weaker grant and with none.
	for _, path := range []string{
		"//admin/x", "/./hard/x", "/open/../hard/x", "/%68ard/x", "/%2e%2e/hard", "/hard%2fx", "/HARD/x", "/hard;x/y", "/;/hard", "/open/..;/hard", "/hard.", "/hard%20", "/hard%09", "/hard%00", "/hard%23", "/hard%3f",
		"/%5chard", "/hard\\x", "/open?x=/hard", "/hard?y=/open", "/open%3f/../hard", "/hard/", "/hard/x.css", "/hard/favicon.ico", "/open//x", "/open/a%2fb", "/open/%2e%2e/hard", "/open;/../hard", "*", "http://{host}/hard/x",
		"http://evil.example/hard/x", "/open/%252e%252e/hard", "/open/x#/../hard", "//evil.example/open/x", "/.stepgate/../hard", "/%2estepgate/status", "/.stepgate//status", "/.WELL-KNOWN/webauthn", "/open/..%5chard",
	} {
		all = append(all, request("GET", path, holdsLess), request("GET", path))
	}
	for _, host := range []string{"LOCALHOST", "{host}.", "localhost", "evil.example", "a@{host}", "[::1]", "{host}\r\nHost: evil.example", "", "{host}/x", "xn--localhost"} {
		all = append(all, "GET /hard/x HTTP/1.1\r\nHost: "+host+"\r\n"+holds+"\r\n\r\n")
	}
	all = append(all, "GET /hard/x HTTP/1.0\r\n\r\n", "GET /hard/x HTTP/1.0\r\nHost: {host}\r\n"+holds+"\r\n\r\n", "GET /hard/x\r\n\r\n")
	for _, method := range []string{"get", "GeT", "DELETE", "PURGE", "TRACE", "CONNECT", "OPTIONS", "PRI", "M-SEARCH", "X_Y", "PROPFIND"} {
		all = append(all, request(method, "/hard/x", holds), request(method, "/hard/x"), request(method, "*", holds), request(method, "{host}", holds))
	}
	for _, header := range []string{
		"X-Original-URL: /hard", "X-Rewrite-URL: /hard", "X-HTTP-Method-Override: DELETE", "X_Http_Method_Override: DELETE", "X-Method-Override: TRACE", "X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /hard",
		"Forwarded: host=evil.example", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__", "Upgrade: websocket, H2C\r\nConnection: upgrade", "Upgrade: websocket\r\nConnection: Upgrade",
		"Connection: close, X-User, X-Stepgate-User, Cookie", "X-Stepgate-User: bob", "x_stepgate_level: attested", "X.Stepgate.User: bob", "X-User: bob", "X_User: bob", "X-User: bob\r\nX-User: eve", "Transfer-Encoding: chunked, identity",
		"Expect: 100-continue", "Content-Length: -1", "Origin: null", "Access-Control-Request-Method: DELETE", "Early-Data: 1", "X-Stepgate-User : bob", " X-Stepgate-User: bob", ":protocol: websocket",
	} {
		all = append(all, request("GET", "/hard/x", header, holds), request("GET", "/open/x", header, holds), request("GET", "/admin/x", header))
	}
	// Two requests in one, and what comes behind a body.
	chunked := "Transfer-Encoding: chunked"
	smuggled := request("GET", "/hard/x")
	all = append(all,
		request("GET", "/open/x")+smuggled, request("POST", "/open/x", with(smuggled)...)+smuggled, request("POST", "/open/x", chunked, "", "0", "", smuggled),
		request("POST", "/open/x", chunked, "Content-Length: 5", "", "0", "", smuggled), request("POST", "/open/x", "Transfer-Encoding: xchunked", "Content-Length: 3", "", "abc"+smuggled),
		request("POST", "/hard/x", holds, chunked, "Trailer: X-Stepgate-User, Cookie, X-User", "", "1", "a", "0", "X-Stepgate-User: bob", "Cookie: stepgate={bob}", "X-User: bob", "X_stepgate_level: attested", ""),
		request("GET", "/hard/x", holds)+smuggled, request("GET", "/open/x", "Content-Length: 5"), request("POST", "/hard/x", holds, chunked, "", "ffffffffffffffff", "a"),
	)
	// D: names, of which the first factor's counts.
	for _, user := range []string{"", " ", "Alice", "alice@x", "a,b", "\xd0\xb0lice", "alice\x00", strings.Repeat("a", 600)} {
		all = append(all, request("GET", "/hard/x", "X-User: "+user, holds))
	}
	// E, G: where to go afterwards, and what a page shows.
	for _, target := range []string{
		"//evil", "/%5cevil", "https:evil", "%2f%2fevil", "/.//evil", "/..//evil", "/%0d%0aSet-Cookie:x=1", "/.stepgate/challenge", "/.stepgate/logout", "javascript:alert(1)", "\"><script>", "</script>", "{{.}}", "/%E2%80%A8",
	} {
		all = append(all, request("GET", "/.stepgate/challenge?return_to="+target), request("GET", "/.stepgate/challenge?return_to="+target, holds), request("GET", "/admin?x="+target, "Accept: text/html"))
	}
	return all
}
