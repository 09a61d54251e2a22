// Command stepgate is Caddy with its standard modules and Stepgate's: the ready binary.
//
// Everything Caddy's own command line does, it does too: `stepgate run --config Caddyfile`, `adapt`, `validate`, `fmt`,
// `reload`, `stop`. Another Caddy build gets the same modules by importing the caddymodule package.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "time/tzdata" // routes and audit lines in local time on images without a zone database

	_ "github.com/stepgate/stepgate/caddymodule"
)

func main() {
	caddycmd.Main()
}
