# make run    builds both programs and shows flows of a real capture, end to end
# make test   installs or asks for what the tests need and runs them all
# make help   the rest

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

export CGO_ENABLED ?= 0
GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.1.4
TOOLS := $(CURDIR)/.cache/bin
FUZZTIME ?= 5s
CROSS := linux/arm64 linux/arm linux/mips linux/mipsle

.PHONY: help build run test lint vuln fuzz cross bench ci clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

build: ## static binaries in ./bin
	go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/...

run: build ## the main job on a real capture, with a summary of both sides
	go run ./test/demo

test: build ## every test; tools that are missing are installed or named
	test/setup/tools
	test/setup/gotest

lint: ## gofmt, go vet, golangci-lint
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	@test -x $(TOOLS)/golangci-lint || GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	$(TOOLS)/golangci-lint run ./...
	cd test/bench && go vet ./... && $(TOOLS)/golangci-lint run --config ../../.golangci.yml ./...
	go mod tidy -diff
	cd test/bench && go mod tidy -diff

vuln: ## known vulnerabilities, where their database can be reached
	@test -x $(TOOLS)/govulncheck || GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@$(TOOLS)/govulncheck ./cmd/... || { [ $$? != 3 ] && echo "vuln: the database could not be reached: not checked"; }

fuzz: ## FUZZTIME (5s) for every fuzz target
	test/setup/fuzz $(FUZZTIME)

cross: ## both programs for the routers' processors
	@for t in $(CROSS); do \
	  echo "cross $$t"; \
	  GOOS=$${t%/*} GOARCH=$${t#*/} GOMIPS=softfloat go build -trimpath -ldflags '-s -w' -o bin/$${t/\//-}/ ./cmd/...; \
	done

bench: build ## the figures of BENCHMARKS.md, side by side with peers
	test/setup/tools bench
	test/bench/run

ci: lint vuln cross test fuzz run ## what decides a landing

clean: ## remove what was built
	rm -rf bin run .cache
