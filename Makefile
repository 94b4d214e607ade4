# The two that matter: `make demo` and `make test`. They install what they need, and say so.

CARGO ?= cargo
NAME ?=
STEPS ?= 2000000
export RUSTDOCFLAGS ?= -D warnings

# `make test` does its steps in order, whatever -j says.
.NOTPARALLEL:
.PHONY: help demo test check unit model browser clients compare deps bench deny certs run

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## a live site: real Prosody, rostergate, two people's chats, a friend list
	@demo/run

test: deps check unit browser clients ## everything: lints, unit, integration, browser and client tests

check: ## formatting, lints, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) doc --locked --no-deps --document-private-items

unit: ## unit and integration tests, then those that must not depend on the kind of upstream
	$(CARGO) test --locked
	UPSTREAM_UNDER_TEST=bosh $(CARGO) test --locked --test it -- \
		admin:: ejabberd:: failures:: names:: operation:: original_bugs:: presence:: roster::

model: ## a BOSH session on a bad network, for STEPS= steps (SEED= to repeat)
	STEPS=$(STEPS) $(CARGO) test --locked --lib whatever_the_network_does

browser: ## the demo page, driven in headless Chromium
	$(CARGO) build --locked
	node --test tests/browser/*.test.mjs

compare: ## the protocol tests against Prosody's and ejabberd's BOSH, to docs/compare.md
	@scripts/deps.sh test
	CONFORMANCE=$$($(CARGO) test --locked --test conformance --no-run 2>&1 \
		| sed -n 's/.*Executable.*(\(.*\))$$/\1/p') && test -n "$$CONFORMANCE" \
		&& CONFORMANCE="$$PWD/$$CONFORMANCE" $(CARGO) test --locked --test compare

clients: ## other people's clients, through rostergate to a real Prosody or ejabberd
	$(CARGO) build --locked
	node --test --test-concurrency=2 tests/clients/*.test.mjs

deps: ## install what the tests need
	@scripts/deps.sh test

bench: ## figures: scanner, rosters, instructions, end to end (NAME=roster for one)
	@scripts/deps.sh test
	@command -v gungraun-runner >/dev/null || $(CARGO) install --locked gungraun-runner --version 0.20.0
	$(CARGO) bench --locked $(if $(NAME),--bench $(NAME),--benches)

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

deny: ## licences, advisories, duplicates (installs cargo-deny)
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny --version 0.20.2
	cargo deny check

certs: ## make the test certificates anew
	certs/make.sh

run: ## run with rostergate.toml
	$(CARGO) run --release -- serve --config rostergate.toml
