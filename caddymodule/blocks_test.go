package caddymodule_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Which of two blocks counts, nobody could tell: a request that meets both goes nowhere, and the log names both.
func TestTwoBlocksOnOneWay(t *testing.T) {
	g := start(t, "open *", `handle /twice/* {
	stepgate {
		path /other
		open *
		protect /twice/admin/*
	}
	`+proxy+`
}
handle {
	`+proxy+`
}`)
	alice := g.enrolled("alice")
	alice.want("/once", 200, "")
	g.reached(1)
	for _, changes := range [][]func(*http.Request){nil, {navigating}} {
		answer := alice.get("/twice/x", changes...)
		if answer.StatusCode != 500 {
			t.Errorf("%d %s", answer.StatusCode, answer.body)
		}
	}
	g.reached(0)
	lines := g.logged("request met two stepgate blocks: put one block around both routes, or make the routes exclusive with handle")
	if len(lines) != 2 {
		t.Fatalf("%d lines in the log", len(lines))
	}
	places := fmt.Sprint(lines[0]["first"], lines[0]["second"])
	if lines[0]["first"] == lines[0]["second"] || !strings.Contains(places, "(path /other, 2 rules)") || !strings.Contains(places, "(path /.stepgate, 1 rules)") {
		t.Errorf("the log names %s", places)
	}
}

// Blocks that a request can't both meet are fine, each with its own words.
func TestBlocksSideBySide(t *testing.T) {
	g := newGateway(t)
	g.load(`http://localhost:$PORT {
	handle /a/* {
		stepgate {
			user {header.X-User}
			path /a/.stepgate
		}
		` + proxy + `
	}
	handle /b/* {
		stepgate {
			user {header.X-User}
			path /b/-
			open /b/open
		}
		` + proxy + `
	}
	handle {
		respond "no gate" 200
	}
}`)
	alice := g.browser("alice")
	alice.prefix = "/a/.stepgate"
	alice.register()
	alice.stepUp("/a/x")
	alice.want("/a/x", 200, "")
	alice.want("/b/x", 200, "") // one relying party, one origin: the grant is good on both
	nobody := g.browser("")
	nobody.want("/b/open", 200, "")
	nobody.want("/a/open", 401, "user_missing")
	nobody.want("/b/-/status", 401, "user_missing")
	g.reached(3)
}
