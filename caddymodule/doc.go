// Package caddymodule plugs Stepgate into Caddy: the app `stepgate`, the handler `http.handlers.stepgate`, the store
// `stepgate.stores.file`, their Caddyfile syntax, and the subcommand `keygen`. Import it in any Caddy build.
//
// It is thin: it turns configuration into the values of package gate and calls it. What it guarantees is that nothing
// of a configuration is accepted and ignored, that provisioning does no I/O, and that a reload, failed or not, never
// takes the store from requests that are still running. The types with JSON tags are documented for operators: Caddy's
// module documentation is made from them.
package caddymodule
