# Tenantry: `make help` lists what can be asked for. Works with GNU make 3.81 (macOS) and later.

GO    ?= go
BIN   := $(CURDIR)/.bin
SHELL := /bin/bash

# The linter is pinned here, because its dependencies must not be mixed with those of the generators in tools/go.mod.
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := $(BIN)/golangci-lint-$(GOLANGCI_VERSION)

# The directories of the workspace's modules, for programs that do not know the `work` pattern.
PACKAGES = $(shell $(GO) list -m -f '{{.Dir}}/...')

.DEFAULT_GOAL := help

##@ Everyday

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: bin/tenantry ## Start all of Tenantry here, with sample apps: no Docker, Ctrl-C stops it, data is kept
	@tools/servers.sh
	@CGO_ENABLED=0 $(GO) build -o bin/ ./examples/piedpiper
	@bin/tenantry dev

.PHONY: reset
reset: bin/tenantry ## Throw away the data of `make run`
	@bin/tenantry dev reset

.PHONY: build
build: ## Build static binaries into bin/
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./services/cmd/... ./examples/piedpiper

##@ Checks

# `tenantry dev exec` gives the command one throw-away PostgreSQL, so that not every package starts its own. What a test
# needs more (Redis, a browser) it starts itself. With CI set, a missing program is a failure and not a skipped test.
WITH_SERVERS = $(if $(wildcard services/cmd/tenantry),bin/tenantry dev exec --)
TESTFLAGS   ?=

.PHONY: bin/tenantry
bin/tenantry: # whose own dependencies Go knows best
	@mkdir -p bin
	@[ ! -d services/cmd/tenantry ] || CGO_ENABLED=0 $(GO) build -o bin/ ./services/cmd/tenantry

.PHONY: test
test: bin/tenantry ## Run every test on real PostgreSQL, Redis and Chromium; installs what is missing (TESTFLAGS=-run=Name)
	@tools/servers.sh --browser
	$(WITH_SERVERS) $(GO) test $(TESTFLAGS) work

.PHONY: rp
rp: bin/tenantry ## Log in with stock JavaScript clients: openid-client in Node, oidc-client-ts in Chromium (needs Node and npm)
	@tools/servers.sh --browser
	cd services/e2e/rp/node && npm ci --no-audit --no-fund
	CI=1 $(WITH_SERVERS) $(GO) test -count=1 -tags stockrp ./services/e2e/rp

SECONDS_EACH ?= 8

.PHONY: bench
bench: ## Measure what deploy/BENCHMARKS.md promises, and write it (10 minutes on a quiet machine; SECONDS_EACH=2 for a look)
	@tools/servers.sh
	$(GO) run ./services/e2e/bench -seconds $(SECONDS_EACH) -out deploy/BENCHMARKS.md

.PHONY: lint
lint: $(GOLANGCI) $(BIN)/.stamp .protodeps/.stamp ## Look for mistakes in Go and proto files
	$(GOLANGCI) run $(PACKAGES)
	$(BIN)/buf lint proto

.PHONY: verify
verify: $(GOLANGCI) tools ## Fail if generated code, go.mod files or formatting are not what the tools make
	@rm -rf .build/generate && mkdir -p .build/generate
	$(BIN)/buf generate --output .build/generate
	diff -r .build/generate/proto/gen proto/gen
	tools/tidy.sh --check
	$(BIN)/buf format proto --diff --exit-code
	$(GOLANGCI) fmt --diff $(patsubst %/...,%,$(PACKAGES))

##@ Upkeep

.PHONY: tools
tools: $(BIN)/.stamp .protodeps/.stamp ## Install the pinned generators into .bin/ (2 minutes the first time)

$(BIN)/.stamp: tools/go.mod tools/go.sum
	@mkdir -p $(BIN)
	cd tools && GOWORK=off GOBIN=$(BIN) $(GO) install tool
	@touch $@

.protodeps/.stamp: tools/go.mod tools/go.sum tools/protodeps/main.go
	cd tools && GOWORK=off $(GO) run ./protodeps $(CURDIR)/.protodeps
	@touch $@

$(GOLANGCI):
	@mkdir -p $(BIN)
	cd tools && GOWORK=off GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv $(BIN)/golangci-lint $@

# Generated beside the tree first: a .proto file that does not compile leaves the previous code in place.
.PHONY: generate
generate: tools ## Generate Go, gateway and OpenAPI code from proto/, and the edge's file from its routes
	@rm -rf .build/generate && mkdir -p .build/generate
	$(BIN)/buf lint proto
	$(BIN)/buf generate --output .build/generate
	@rm -rf proto/gen && mv .build/generate/proto/gen proto/gen
	$(GO) run ./services/internal/edge/gen deploy/routes.yaml deploy/Caddyfile

# Against the branch that is released from. The third-party protos are not in git, so they are copied beside it.
AGAINST ?= main

.PHONY: breaking
breaking: tools ## Fail if the contracts in proto/ break users of branch AGAINST (main)
	@rm -rf .build/base && mkdir -p .build/base
	@git archive $(AGAINST) buf.yaml proto | tar -x -C .build/base
	@cp -R .protodeps .build/base/
	$(BIN)/buf breaking proto --against .build/base/proto

.PHONY: format
format: $(GOLANGCI) tools ## Format Go and proto files
	$(GOLANGCI) fmt $(patsubst %/...,%,$(PACKAGES))
	$(BIN)/buf format proto --write

.PHONY: tidy
tidy: ## Tidy the go.mod files of all modules
	@tools/tidy.sh
