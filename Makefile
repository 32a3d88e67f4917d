# The commands of every day. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup dev test test-fast test-ops lint bench bench-peers faults soak release
CARGO ?= cargo
SHIPPED := target/shipped/permyx
# Tests wait more than they compute: a gateway with its ledger in memory takes no tokens in its first 5 s.
export RUST_TEST_THREADS ?= 4

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what a fresh Debian 12 machine with a Rust toolchain lacks
	@.ci/setup

dev: setup ## build, then start everything in one process with a sandbox merchant
	@echo "Building target/release/permyx: 5 to 10 minutes the first time on 2 cores, seconds later."
	$(CARGO) build --release --locked
	target/release/permyx dev

test: setup lint ## everything that must hold before a change lands
	@echo "Building and running all tests: from nothing about half an hour on 2 cores (it installs the merchants of the tests)."
	$(CARGO) test --locked
	$(CARGO) test --locked --no-default-features --features gateway
	$(CARGO) test --locked --bench '*'
	$(CARGO) test --locked --bench peers -- --instructions --record benches/results/instructions.json
	$(MAKE) test-ops
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check licenses bans sources; \
	else echo "cargo-deny is not installed: licences, bans and sources are not checked here"; fi

test-fast: ## the unit tests alone, in seconds
	$(CARGO) test --locked --lib

test-ops: ## charts, alert rules and dashboards, with a real Helm engine and a real Prometheus
	@.ci/ops

lint: ## formatting and clippy, both builds: everything, and the sidecar alone
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --no-default-features --features gateway -- -D warnings

bench: ## benches; each file under benches/ asks one question
	$(CARGO) bench --locked --bench '*'

bench-peers: ## the gateway beside HAProxy, nginx and Envoy, where they are installed; rewrites benches/results/peers.md
	@mkdir -p benches/results
	$(CARGO) bench --locked --bench peers -- --out benches/results/peers.md $(if $(wildcard $(SHIPPED)),--program $(SHIPPED))

faults: ## the fault matrix in its long form, about 12 minutes; rewrites the table of docs/faults.md
	PERMYX_FAULTS=full $(CARGO) test --locked --release --test faults -- --nocapture

soak: ## ten million requests of every kind: memory, descriptors and evidence afterwards; about an hour and 30 GB of disk
	$(CARGO) bench --locked --bench soak -- --requests 10000000

release: setup ## the program as it is shipped, laid out by a profile of its own loads, tested, and packed for Debian: under target/, in about an hour
	.ci/release
	PERMYX=$(SHIPPED) $(CARGO) test --locked --test it --test faults
	.ci/deb
