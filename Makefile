# The two that matter: `make demo` and `make test`. They install what they need, and say so. `make quick` needs nothing.

CARGO ?= cargo
NAME ?=
OPTIONS ?=
STEPS ?= 2000000
export RUSTDOCFLAGS ?= -D warnings
# Tests wait more than they work: for timeouts, and for servers.
export RUST_TEST_THREADS ?= 6

# `make test` does its steps in order, whatever -j says.
.NOTPARALLEL:
.PHONY: help demo demo-cluster test quick check unit instructions model browser pictures clients compare several deps bench bench-peers certs run \
	test-next deb package image release deny advisories sbom

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a live site: real Prosody, rostergate, two people's chats, a friend list
	@demo/run

demo-cluster: ## the same with three gateways that are one, behind HAProxy, each of which the page can kill
	@demo/run --cluster

test: deps check unit instructions browser clients package deny ## everything: lints, unit, integration, browser, client and package tests

quick: ## what to run while you write: formatting, lints, and the tests that need nothing but Rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) test --locked --lib --bins \
		--test config --test conformance_list --test docs --test fuzz_corpus --test layering

check: ## formatting, lints, documentation; the module for Prosody
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) doc --locked --workspace --no-deps --document-private-items
	luacheck --quiet --std max --read-globals module prosody -- contrib/prosody

unit: ## unit and integration tests, then those that must not depend on the kind of upstream or front
	$(CARGO) test --locked
	UPSTREAM_UNDER_TEST=bosh GATEWAY_THREADS=2 $(CARGO) test --locked --test it -- \
		admin:: ejabberd:: failures:: names:: operation:: original_bugs:: presence:: roster::
	FRONT_UNDER_TEST=websocket $(CARGO) test --locked --test it -- \
		admin:: blocking:: ejabberd:: failures:: names:: operation:: original_bugs:: presence:: roster::
	$(CARGO) test --locked -p peers

several: ## the protocol tests against three gateways that are one, behind a balancer that knows nothing
	GATEWAYS_UNDER_TEST=3 $(CARGO) test --locked --test conformance -- xep0124:: xep0206:: rfc6121:: mongooseim::

model: ## a BOSH session on a bad network, and both accounts of stream management, for STEPS= steps (SEED= to repeat)
	STEPS=$(STEPS) $(CARGO) test --locked --lib -- whatever_the_network_does whatever_breaks

browser: ## the demo page, driven in headless Chromium
	$(CARGO) build --locked
	node --test tests/browser/*.test.mjs

pictures: browser ## the pictures in docs, from the pages as the browser tests have them
	cp target/status.png target/demo.png docs/

compare: ## the protocol tests against Prosody's and ejabberd's own fronts, to docs/compare.md (NAME=xep0198: shows those)
	@scripts/deps.sh test
	CONFORMANCE=$$($(CARGO) test --locked --test conformance --no-run 2>&1 \
		| sed -n 's/.*Executable.*(\(.*\))$$/\1/p') && test -n "$$CONFORMANCE" \
		&& CONFORMANCE="$$PWD/$$CONFORMANCE" NAME="$(NAME)" $(CARGO) test --locked --test compare

clients: ## other people's clients, through rostergate to a real Prosody or ejabberd
	$(CARGO) build --locked
	node --test --test-concurrency=3 tests/clients/*.test.mjs

test-next: ## the integration tests against Prosody 13 and ejabberd 24.12, in a system of their own (root)
	@scripts/deps.sh test
	@scripts/deps.sh next
	scripts/next.sh $(NAME)

deps: ## install what the tests need
	@scripts/deps.sh test

instructions: ## what the pure parts cost, each within its bound
	@command -v gungraun-runner >/dev/null || $(CARGO) install --locked gungraun-runner --version 0.20.0
	$(CARGO) bench --locked --bench instructions

bench: ## figures: scanner, rosters (NAME=roster for one)
	$(CARGO) bench --locked $(foreach name,$(or $(NAME),scan roster),--bench $(name))

bench-peers: ## rostergate beside other servers and proxies, to docs/performance (OPTIONS=--help)
	@scripts/deps.sh bench
	$(CARGO) build --locked --release --workspace
	$(BUILT)/release/peers --docs docs $(OPTIONS)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: fuzz
fuzz: ## fuzz each target for FUZZ_SECONDS (NAME=scan_body for one; installs nightly, cargo-fuzz)
	@rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz --version 0.13.2
	@for target in $(or $(NAME),$(FUZZ_TARGETS)); do \
	    mkdir -p fuzz/found/$$target; \
	    echo "== $$target, $(FUZZ_SECONDS) s"; \
	    $(CARGO) +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -verbosity=0 \
	        -print_funcs=0 -print_final_stats=1 || exit 1; \
	done

# Where cargo builds.
BUILT := $(or $(CARGO_TARGET_DIR),target)

# Tools that Debian does not have: `$(call tool,NAME,VERSION)` installs cargo-NAME, once.
tool = @command -v cargo-$(1) >/dev/null || $(CARGO) install --locked cargo-$(1) --version $(2)

deb: ## a Debian package, in target/package (installs cargo-deb)
	$(call tool,deb,3.8.0)
	$(CARGO) build --release --locked
	scripts/deb.sh $(BUILT)/release/rostergate target/package

package: ## the Debian package of the program as tested: installed and used on a system that is booted for it
	$(call tool,deb,3.8.0)
	$(CARGO) build --locked
	tests/package/run "$$(scripts/deb.sh $(BUILT)/debug/rostergate target/package/debug)"

release: ## what a release consists of, for amd64 and arm64, in target/dist (ARCHITECTURES=amd64 for one)
	@scripts/deps.sh release
	$(call tool,deb,3.8.0)
	scripts/release.sh target/dist $(ARCHITECTURES)

image: ## the Dockerfile, built by Buildah and run by Podman (needs these)
	tests/package/image

deny: ## licences, origins, duplicates, advisories of the dependencies (installs cargo-deny)
	$(call tool,deny,0.20.2)
	scripts/deny.sh

advisories: ## the same with today's advisories, which come from the network
	$(call tool,deny,0.20.2)
	$(CARGO) deny check

sbom: ## what the program is made of, as CycloneDX: rostergate.cdx.json (installs cargo-cyclonedx)
	$(call tool,cyclonedx,0.5.9)
	$(CARGO) cyclonedx --format json --spec-version 1.5 --describe crate
	@$(CARGO) tree --locked -e normal,build --prefix none | cut -d ' ' -f 1 | sort -u \
		| grep -v '^rostergate$$' | while read -r crate; do \
		grep -q "\"name\": \"$$crate\"" rostergate.cdx.json || { echo "$$crate is missing"; exit 1; }; done

certs: ## make the test certificates anew
	certs/make.sh

run: ## run with rostergate.toml
	$(CARGO) run --release -- serve --config rostergate.toml
