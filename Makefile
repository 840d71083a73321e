# make run     build and run the demo
# make test    everything: checks, unit, property, testscript and integration tests
# make bench   the figures, beside Postfix on the same disk
# make lint    golangci-lint, pinned
# make fuzz    every fuzz target for FUZZTIME
# make vuln    govulncheck, pinned: known holes in what we call; asks the database of the Go project, or a copy: VULNDB=file:///...
# make testssl    testssl.sh against the relay, and its report
# make hardening  what the systemd unit lets through, by systemd-analyze: at most 2.0
# make systemd    the units under a living systemd, in a Debian that is booted for it: as root
# make build   bin/mxbypass

GO       ?= go
FUZZTIME ?= 60s
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
SHELL    := /bin/bash -o pipefail

.PHONY: all build run test check peers bench lint fuzz vuln testssl hardening systemd clean
all: build

# Without git, or without this Makefile, the version is what Go has put into the binary.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
build:
	$(GO) build -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/mxbypass ./cmd/mxbypass

run: build
	bin/mxbypass demo

# Integration tests measure nothing, and mostly wait for real programs: two packages of them share the machine. What they
# test is a program that they build, of which go test does not know: nothing of them is cached.
test: peers check
	$(GO) test -race -timeout 10m -p 2 $$($(GO) list ./... | grep -v '^mxbypass/integration')
	$(GO) test -race -count 1 -timeout 14m -p 2 ./integration/...

check:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "gofmt -w wanted: $$unformatted" >&2; exit 1; }
	$(GO) vet -tags systemd,testssl ./...

peers:
	@integration/peers.sh

bench: peers build
	$(GO) run ./integration/bench
	$(GO) test ./mailbox/directory/sqldir -run '^$$' -bench Million -benchtime 1x

lint:
	$(GO) run $(LINT) run ./...

# go test fuzzes one target at a time.
fuzz:
	@set -e; for package in $$($(GO) list ./...); do \
		targets=$$($(GO) test -list '^Fuzz' $$package); \
		for target in $$(grep '^Fuzz' <<<"$$targets" || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

vuln:
	@$(GO) run $(VULN) $(if $(VULNDB),-db $(VULNDB)) ./... || { echo "make vuln: holes, or nothing was checked: see above" >&2; exit 1; }

testssl: peers
	$(GO) test -tags testssl -count 1 -v -timeout 60m -run '^TestTestssl$$' ./integration/trust

# The threshold is in tenths.
hardening:
	systemd-analyze security --offline=true --threshold=20 --no-pager configs/systemd/mxbypass.service

# The tests run inside, where there is no Go and perhaps another libc.
systemd: peers build
	CGO_ENABLED=0 $(GO) test -tags systemd -count 1 -v -timeout 30m ./integration/systemd

clean:
	rm -rf bin
