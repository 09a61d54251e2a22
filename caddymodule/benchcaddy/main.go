// Command benchcaddy is the Caddy of the benchmarks: the ready binary's modules, and a handler that checks a JSON Web
// Token, which Caddy has none of. It is for measuring only: it is in no release, and its handler guards nothing.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/stepgate/stepgate/caddymodule"
)

func main() {
	caddycmd.Main()
}
