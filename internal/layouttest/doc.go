// Package layouttest holds the source tree to its own layout: which package may import what, that every package says
// what it is for, and that no file outgrows its concept. It has tests only.
//
// The rules are what keeps reviews short: whoever knows that package passkey imports the standard library only, or that
// nothing but caddymodule knows Caddy, need not look for it. They are read off `go list`, so that nobody has to remember.
package layouttest
