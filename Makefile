# Lambent. `make` lists what can be made; every target installs what it needs.
SHELL    := /bin/bash
VENV     := .cache/venv
LAYOUT   := .cache/layout
EMBEDDED := internal/sandbox/oci/embedded/lambent-runsc
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GVISOR   := $(shell sed -n 's/^.*gvisor.dev\/gvisor v[0-9.]*-\([0-9]*\)-.*/\1/p' runsc/go.mod | head -1)
PATH     := $(PATH):/usr/sbin:/sbin
ROOT     := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env "PATH=$(PATH)")
FILES    := $$(git ls-files '*.go')
E2E      := LAMBENT_E2E=$(CURDIR)/bin/lambent LAMBENT_RUNTIMES=$(CURDIR)/$(LAYOUT) LAMBENT_VENV=$(CURDIR)/$(VENV)
export CGO_ENABLED := 0

# apt installs a Debian package if the command named first is missing, and no other: the npm of who has Node.js from
# elsewhere conflicts with Debian's. What apt says is shown if it fails.
apt = command -v $(1) >/dev/null || { echo "installing by apt: $(2)"; mkdir -p .cache; \
	{ $(ROOT) apt-get update && $(ROOT) env DEBIAN_FRONTEND=noninteractive \
	apt-get install -y --no-install-recommends $(2); } >.cache/apt.log 2>&1 || { tail -n 20 .cache/apt.log; exit 1; }; }

.DEFAULT_GOAL := help
.PHONY: demo test build runtimes lint fmt bench e2e attack soak fuzz update help tools

demo: build tools runtimes ## start a region, run a Node.js, a Python and a Go function on it (ONCE=1 ends after that)
	@go build -ldflags "-s -w" -o bin/bootstrap ./packaging/functions/go
	@$(ROOT) packaging/demo $(if $(ONCE),--once)

test: build tools runtimes lint ## everything a machine can check; CI runs this
	cd runsc && go vet ./... && $(ROOT) go test ./...
	$(ROOT) env CI=$(CI) go test -count=1 -timeout 20m ./cmd/... ./internal/... ./runtimes/...
	$(ROOT) env CI=$(CI) $(E2E) go test -count=1 -timeout 30m -p 1 ./test/...
	packaging/fuzz $(if $(CI),30s,2s)

build: ## bin/lambent: static, gVisor's runsc inside
	@echo "building bin/lambent-runsc: the first time minutes, with downloads of Go modules"
	@cd runsc && go build -trimpath -ldflags "-s -w -X gvisor.dev/gvisor/runsc/version.version=$(GVISOR)" -o ../bin/lambent-runsc .
	@cmp -s bin/lambent-runsc $(EMBEDDED) || cp bin/lambent-runsc $(EMBEDDED)
	@sha256sum <$(EMBEDDED) | cut -d ' ' -f 1 >$(EMBEDDED).sha256
	@echo "building bin/lambent $(VERSION)"
	@go build -trimpath -tags lambent_embed -ldflags "-s -w -X main.version=$(VERSION)" -o bin/lambent ./cmd/lambent

runtimes: build ## the managed runtimes' images, in .cache/layout
	@$(call apt,mmdebstrap,mmdebstrap)
	@$(call apt,npm,npm)
	@python3 -m pip --version >/dev/null 2>&1 || { $(call apt,no-such-command,python3-pip); }
	@echo "building the runtimes' images in $(LAYOUT): the first time minutes, with downloads from Debian, npm and PyPI"
	@$(ROOT) bin/lambent runtimes build --runtimes $(LAYOUT)

tools: # the AWS CLI and boto3 for demo and tests: Debian's own is too old for AWS_ENDPOINT_URL
	@[ -x $(VENV)/bin/aws ] || { python3 -c 'import ensurepip' 2>/dev/null || { $(call apt,no-such-command,python3-venv); }; \
	echo "installing the AWS CLI and boto3 into $(VENV)"; python3 -m venv $(VENV) && $(VENV)/bin/pip install -q 'awscli>=1.40' boto3; }

lint: ## formatting, vet, staticcheck (layers and sizes are checked by go test)
	@out=$$(gofmt -l $(FILES)); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	go vet ./...
	go tool staticcheck ./...

fmt: ## format the code
	gofmt -w $(FILES)

bench: build runtimes ## measure, and write docs/performance.md
	$(ROOT) env $(E2E) LAMBENT_BENCH=1 go test -count=1 -v -timeout 30m ./test/bench

e2e: build tools runtimes ## the end-to-end tests alone
	$(ROOT) env CI=1 $(E2E) go test -count=1 -v -timeout 30m -p 1 ./test/e2e ./test/crash

soak: build runtimes ## the crash tests in full: 50 kills, 1,000 environments; about 10 minutes
	$(ROOT) env CI=1 LAMBENT_SOAK=1 $(E2E) go test -count=1 -v -timeout 60m ./test/crash

attack: build tools runtimes ## hostile functions, zips and twenty neighbours (a shorter form is in test)
	$(ROOT) env CI=1 LAMBENT_ATTACK=long $(E2E) go test -count=1 -v -timeout 20m ./test/attack

fuzz: ## every fuzz target, each for FUZZTIME (30s)
	packaging/fuzz $(or $(FUZZTIME),30s)

update: ## newer dependencies, and the files that tests write
	go get -u ./... && go mod tidy
	go test ./internal/api -update

help: ## this list
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
