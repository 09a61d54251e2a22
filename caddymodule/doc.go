// Package caddymodule plugs Stepgate into Caddy.
package caddymodule
