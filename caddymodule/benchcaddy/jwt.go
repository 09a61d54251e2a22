package main

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/golang-jwt/jwt/v5"
)

func init() {
	caddy.RegisterModule(new(check))
	httpcaddyfile.RegisterHandlerDirective("bench_jwt", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		c := new(check)
		h.Next()
		if !h.Args(&c.Algorithm, &c.Key) {
			return nil, h.ArgErr()
		}
		return c, nil
	})
}

// check lets requests pass whose cookie `jwt` holds a token that is signed, in force and of the issuer `bench`: what a
// plugin for sign-ins by token does at each request. It puts the subject where Caddy's own sign-ins put the user.
type check struct {
	Algorithm string `json:"algorithm"` // HS256 or ES256
	Key       string `json:"key"`       // in base64: the secret, or the public key as PKIX

	key    any
	parser *jwt.Parser
}

func (*check) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bench_jwt", New: func() caddy.Module { return new(check) }}
}

func (c *check) Provision(caddy.Context) error {
	key, err := base64.StdEncoding.DecodeString(c.Key)
	if err != nil {
		return fmt.Errorf("reading the key: %w", err)
	}
	switch c.Algorithm {
	case "HS256":
		c.key = key
	case "ES256":
		if c.key, err = x509.ParsePKIXPublicKey(key); err != nil {
			return fmt.Errorf("reading the key: %w", err)
		}
	default:
		return fmt.Errorf("algorithm %q is not known", c.Algorithm)
	}
	c.parser = jwt.NewParser(jwt.WithValidMethods([]string{c.Algorithm}), jwt.WithExpirationRequired(), jwt.WithIssuer("bench"))
	return nil
}

func (c *check) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	cookie, err := r.Cookie("jwt")
	if err != nil {
		return caddyhttp.Error(http.StatusUnauthorized, err)
	}
	var claims jwt.RegisteredClaims
	if _, err := c.parser.ParseWithClaims(cookie.Value, &claims, func(*jwt.Token) (any, error) { return c.key, nil }); err != nil {
		return caddyhttp.Error(http.StatusUnauthorized, err)
	}
	r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.auth.user.id", claims.Subject)
	return next.ServeHTTP(w, r)
}

var (
	_ caddy.Provisioner           = (*check)(nil)
	_ caddyhttp.MiddlewareHandler = (*check)(nil)
)
