# `make run` and `make test` do everything on a fresh machine that has rustup, a C compiler and Python 3 with pip; the tests of the
# official SDKs also want Node with npm, and python3-venv. `.ci/run` installs these on Debian.
# All output goes below target/.
.DEFAULT_GOAL := help
CARGO := cargo
METACLAW := target/release/metaclaw
DEMO := target/two-agents
MODELS := target/models

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## Add what a bare Rust toolchain lacks
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-unknown-unknown || rustup target add wasm32-unknown-unknown
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

build: setup ## Build the command
	$(CARGO) build --release --locked -p metaclaw

demo: build ## Lay the demo out in target/two-agents, with its policy built and the model fetched
	@mkdir -p $(DEMO)/policies
	@cp -R examples/two-agents/config.yaml examples/two-agents/skills $(DEMO)/
	@chmod 700 $(DEMO) && chmod 600 $(DEMO)/config.yaml
	$(CARGO) run --release --locked --quiet -p policy-build -- examples/two-agents/policy $(DEMO)/policies/lead-or-refuse.wasm
	@test -e $(DEMO)/models || { mkdir -p $(MODELS) && ln -s $(abspath $(MODELS)) $(DEMO)/models; }
	$(METACLAW) --home $(DEMO) models fetch

run: demo ## Build, fetch the embedded model and start the two demo agents
	$(METACLAW) --home $(DEMO) start --dev

test: setup ## Run every test
	$(CARGO) build --release --locked -p metaclaw -p policy-build
	$(CARGO) test --release --locked --workspace

test-openclaw: setup ## Run the tests with the real OpenClaw (installed once into target/openclaw: 860 MB, half a minute)
	$(CARGO) build --release --locked -p metaclaw -p policy-build
	$(CARGO) test --release --locked -p tests --test openclaw

lint: setup ## Check formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings

check: ## Exactly what CI does
	bash .ci/run

bench: build ## Measure against nginx on this machine: tests/bench/README.md
	bash tests/bench/run.sh

eval-skills: build ## Measure whether the right skill reaches the prompt, cold and after use: tests/eval/README.md
	python3 tests/eval/skills.py $(DATA) --mode $(or $(MODE),hybrid) --questions $(or $(QUESTIONS),1500) --svg $(or $(SVG),target/learning-curve.svg)

eval-isolation: build ## Measure whether agents with conflicting rules learn their own and never another's: tests/eval/README.md
	python3 tests/eval/isolation.py --agents $(or $(AGENTS),6) --json target/isolation.json

eval-isolation-embedded: demo ## The same with the embedded model, reported as it is (some minutes)
	python3 tests/eval/isolation.py --agents $(or $(AGENTS),3) --rounds 1 --asks 1 --embedded --json target/isolation-embedded.json

eval-rl: demo ## Train two agents at once from live traffic, each for its own reward, and hold both against both: tests/eval/README.md
	python3 tests/eval/rl.py --seeds $(or $(SEEDS),3) --rounds $(or $(ROUNDS),10) --batch $(or $(BATCH),32) --json target/rl.json --svg $(or $(SVG),target/rl.svg)

bench-training: demo ## Measure answers while a step is trained, against idle ones in the same run
	python3 tests/bench/training.py

.PHONY: help setup build demo run test test-openclaw lint check bench eval-skills eval-isolation eval-isolation-embedded eval-rl bench-training
