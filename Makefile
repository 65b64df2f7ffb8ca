# Tenantry: `make help` lists what can be asked for. Works with GNU make 3.81 (macOS) and later.

GO      ?= go
BIN     := $(CURDIR)/.bin
MODULES := proto pkg services examples

# The linter is pinned here, because its own go.mod must not be mixed with that of the generators.
GOLANGCI_VERSION := v2.15.0

.DEFAULT_GOAL := help
SHELL         := /bin/bash

##@ Everyday

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Contracts and tools

.PHONY: tools
tools: $(BIN)/.stamp .protodeps/.stamp ## Install the pinned generators into .bin/ (2 minutes the first time)

$(BIN)/.stamp: tools/go.mod tools/go.sum
	@mkdir -p $(BIN)
	cd tools && GOWORK=off GOBIN=$(BIN) $(GO) install tool
	@touch $@

.protodeps/.stamp: tools/go.mod tools/go.sum tools/protodeps/main.go
	cd tools && GOWORK=off $(GO) run ./protodeps $(CURDIR)/.protodeps
	@touch $@

# Generated beside the tree first: a .proto file that does not compile leaves the previous code in place.
.PHONY: generate
generate: tools ## Generate Go, gateway and OpenAPI code from proto/
	@rm -rf .build/generate && mkdir -p .build/generate
	$(BIN)/buf lint proto
	$(BIN)/buf generate --output .build/generate
	@rm -rf proto/gen && mv .build/generate/proto/gen proto/gen
