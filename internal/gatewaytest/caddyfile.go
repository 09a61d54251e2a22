package gatewaytest

// What the gateways of these tests are configured with, unless a test brings its own.

// BasicAuth signs alice and bob in, with the password `correct horse`.
const BasicAuth = `basic_auth {
		alice $2a$10$8e6FiRGYdlqGBwvSorcmIOTfaiIoTSxfV9Vg4kJsL4CljWny8qNE2
		bob $2a$10$8e6FiRGYdlqGBwvSorcmIOTfaiIoTSxfV9Vg4kJsL4CljWny8qNE2
	}`

const Password = "correct horse"

// Console is the Caddyfile of one console: words for the relying party, and for the stepgate block behind basicAuth.
func Console(app, block string) string {
	return Globals(app) + Site(BasicAuth+"\n\tstepgate {\n"+block+"\n\t}")
}

// HeaderConsole is a console whose first factor is the header X-User, for clients that are no browser.
func HeaderConsole(app, block string) string {
	return Globals(app) + Site("stepgate {\n\t\tuser {header.X-User}\n"+block+"\n\t}")
}

// Globals are the options: everything is logged, so that a secret that could leak does.
func Globals(app string) string {
	return `{
	admin localhost:$ADMIN
	persist_config off
	auto_https off
	default_bind 127.0.0.1
	grace_period 1s
	debug
	stepgate {
		rp_id localhost
		rp_name "Example operations"
		origins $ORIGIN
		store file $DIR/stepgate.db
		` + app + `
	}
}
`
}

func Site(directives string) string {
	return "http://localhost:$PORT {\n\tlog\n\t" + directives + "\n\treverse_proxy $UPSTREAM\n}\n"
}
