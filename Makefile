# Lambent. `make` lists what can be made; every target installs what it needs.
SHELL   := /bin/bash
BIN     := bin
VENV    := $(CURDIR)/.cache/venv
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOFLAGS_STATIC := CGO_ENABLED=0
GVISOR  := $(shell sed -n 's/^.*gvisor.dev\/gvisor v[0-9.]*-\([0-9]*\).*/\1/p' runsc/go.mod 2>/dev/null | head -1)
SUDO    := $(shell [ "$$(id -u)" = 0 ] || echo "sudo -E env PATH=$$PATH")
export CGO_ENABLED = 0

.DEFAULT_GOAL := help
.PHONY: demo test build runtimes lint fmt bench e2e fuzz update help

demo: build runtimes ## start a region, run a Node, a Python and a Go function on it (ONCE=1: end after that)
	$(SUDO) packaging/demo $(if $(ONCE),--once)

test: build tools runtimes lint ## everything a machine can check (CI runs this)
	cd runsc && go vet ./...
	$(SUDO) env CI=$(CI) go test -count=1 -timeout 20m ./...
	$(SUDO) env CI=$(CI) LAMBENT_E2E=$(CURDIR)/$(BIN)/lambent LAMBENT_VENV=$(VENV) go test -count=1 -timeout 25m ./test/...

build: $(BIN)/lambent ## bin/lambent: static, with gVisor's runsc inside

runtimes: $(BIN)/lambent packages ## build the managed runtimes' images into the state directory's layout
	$(SUDO) $(BIN)/lambent runtimes build --layout .cache/layout

lint: ## formatting, vet, staticcheck (layers and sizes are checked by go test)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	go tool staticcheck ./...

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

bench: build runtimes ## measure and write docs/performance.md
	$(SUDO) env LAMBENT_E2E=$(CURDIR)/$(BIN)/lambent go test -count=1 -timeout 30m -run TestBench ./test/bench -bench-write

e2e: build tools runtimes ## the end-to-end tests alone
	$(SUDO) env LAMBENT_E2E=$(CURDIR)/$(BIN)/lambent LAMBENT_VENV=$(VENV) go test -count=1 -v -timeout 25m ./test/...

fuzz: ## every fuzz target for FUZZTIME (30s)
	packaging/fuzz $(or $(FUZZTIME),30s)

update: ## newer dependencies, and the files tests write
	go get -u ./... && go mod tidy
	go test ./internal/api -update

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
