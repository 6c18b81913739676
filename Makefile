# Two commands matter: `make demo` and `make test`. Each target delegates to scripts/, which installs what it needs by itself
# and says what it installs. CI runs the same targets.

.DEFAULT_GOAL := help
.PHONY: help demo console test check golden bench bench-agent bench-controller size fuzz image install-deps clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## bookinfo on this machine, redirected from outside and proved by real traffic (root); ARGS=--keep leaves it running
	@scripts/demo $(ARGS)

console: ## the demo kept running with the console, whose address is printed (root)
	@scripts/demo --console $(ARGS)

test: ## every test once; ends with "N passed, 0 failed, K skipped" (root)
	@scripts/test $(ARGS)

check: ## what to run before a commit: format, lints, house rules; seconds when warm
	@scripts/check

golden: ## rewrites the golden files; review the diff
	@UPDATE_GOLDEN=1 cargo test -q --workspace golden

bench: ## the plugin's budgets as ratios to their floors (root)
	@scripts/bench

bench-agent: ## the agent's memory, processor time and requests on a node with 250 pods (root; an API server, see README)
	@scripts/bench-role agent

bench-controller: ## the controller's memory and requests with 1000 nodes and 30000 pods; some minutes (an API server, see README)
	@scripts/bench-role controller

size: ## the plugin's size, packages, memory and processes against their budgets (root)
	@scripts/size

fuzz: ## every reader under the fuzzer for a while; SECONDS_EACH=20 (nightly Rust)
	@scripts/fuzz $(ARGS)

image: ## the OCI image as an archive, for registries and containerd; needs no daemon
	@scripts/image

install-deps: ## installs what all targets but fuzz need, and nothing else (root)
	@scripts/install demo test size bench image
	@scripts/envoy

clean: ## removes what was built
	@cargo clean
