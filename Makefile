# Set-up, checks and the server, for a machine with cargo, a C compiler and python3 (with pip and venv).
# `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PORT ?= 5000
# More arguments for the program, as in: make serve ARGS="--model my-bundle"
ARGS ?=
PYTHON ?= python3
CARGO ?= cargo

LIBRARY := .runtime/lib/libonnxruntime.so.1.31.1
VENV := .venv
VENV_READY := $(VENV)/.ready
BUNDLES := target/test-bundles
TINY1 := $(BUNDLES)/tiny-cosyvoice1
TINY := $(BUNDLES)/tiny-cosyvoice2
TINY3 := $(BUNDLES)/tiny-cosyvoice3
EXPORTER := $(shell find onnx/cosyserve_onnx -name '*.py' 2>/dev/null)
CLIENTS := tests/clients
CLIENTS_VENV := $(CLIENTS)/.venv
CLIENTS_READY := $(CLIENTS_VENV)/.ready
TYPESCRIPT := $(CLIENTS)/typescript
TYPESCRIPT_READY := $(TYPESCRIPT)/node_modules/.ready
CHROMIUM := $(or $(COSYSERVE_TEST_CHROMIUM),chromium)

.PHONY: help setup setup-gpu setup-clients lock-clients serve build-tests test test-rust test-python test-clients test-bundle \
	fuzz-api lint fmt openapi bench measure soak clean

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-13s %s\n", $$1, $$2 }'

setup: $(LIBRARY) ## Fetches ONNX Runtime (CPU) into .runtime

$(LIBRARY): docker/fetch-onnxruntime.sh docker/onnxruntime.txt
	@PYTHON=$(PYTHON) docker/fetch-onnxruntime.sh
	@touch $@

setup-gpu: ## Fetches ONNX Runtime (CUDA 13) and, with CUDA=1, the CUDA libraries
	@PYTHON=$(PYTHON) docker/fetch-onnxruntime.sh --gpu $(if $(CUDA),--cuda-libraries)

serve: setup ## Builds and starts the server (PORT, ARGS)
	$(CARGO) run --release --locked -- serve --port $(PORT) $(ARGS)

# The exporter and the Python tests have an environment of their own.
$(VENV_READY): onnx/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable './onnx[test]'
	@touch $@

# The checkpoint that the reference implementation ran for the goldens, exported.
$(TINY)/bundle.json: $(VENV_READY) $(EXPORTER) tests/goldens/tiny-cosyvoice2.tar.xz
	rm -rf $(BUNDLES)/part $(TINY)
	mkdir -p $(BUNDLES)/part
	tar -xJf tests/goldens/tiny-cosyvoice2.tar.xz -C $(BUNDLES)/part
	$(VENV)/bin/python -m cosyserve_onnx export $(BUNDLES)/part/CosyVoice2-0.5B $(BUNDLES)/part/bundle
	mv $(BUNDLES)/part/bundle $(TINY)
	rm -rf $(BUNDLES)/part

$(TINY1)/bundle.json: $(VENV_READY) $(EXPORTER) tests/goldens/tiny-cosyvoice1.tar.xz
	rm -rf $(BUNDLES)/part1 $(TINY1)
	mkdir -p $(BUNDLES)/part1
	tar -xJf tests/goldens/tiny-cosyvoice1.tar.xz -C $(BUNDLES)/part1
	$(VENV)/bin/python -m cosyserve_onnx export $(BUNDLES)/part1/CosyVoice-300M $(BUNDLES)/part1/bundle
	mv $(BUNDLES)/part1/bundle $(TINY1)
	rm -rf $(BUNDLES)/part1

# The archive of generation 3 leaves out what the other one has.
$(TINY3)/bundle.json: $(VENV_READY) $(EXPORTER) tests/goldens/tiny-cosyvoice2.tar.xz tests/goldens/tiny-cosyvoice3.tar.xz
	rm -rf $(BUNDLES)/part3 $(TINY3)
	mkdir -p $(BUNDLES)/part3
	tar -xJf tests/goldens/tiny-cosyvoice2.tar.xz -C $(BUNDLES)/part3
	tar -xJf tests/goldens/tiny-cosyvoice3.tar.xz -C $(BUNDLES)/part3
	cd $(BUNDLES)/part3 && mv CosyVoice2-0.5B/{CosyVoice-BlankEN,campplus.onnx} Fun-CosyVoice3-0.5B/
	$(VENV)/bin/python -m cosyserve_onnx export $(BUNDLES)/part3/Fun-CosyVoice3-0.5B $(BUNDLES)/part3/bundle
	mv $(BUNDLES)/part3/bundle $(TINY3)
	rm -rf $(BUNDLES)/part3

test-bundle: $(TINY1)/bundle.json $(TINY)/bundle.json $(TINY3)/bundle.json ## Exports the bundles that the tests run on

# Clients are many packages with versions of their own, so their environment is one of its own, locked.
$(CLIENTS_READY): $(CLIENTS)/requirements.txt
	$(PYTHON) -m venv $(CLIENTS_VENV)
	$(CLIENTS_VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

setup-clients: $(CLIENTS_READY) ## Fetches what the tests of clients need (as root on Debian, browser and Node.js too)
	@.ci/package curl --version -- curl
	@.ci/package $(CHROMIUM) --version -- chromium
	@.ci/package npm --version -- nodejs npm
	@$(MAKE) --no-print-directory $(TYPESCRIPT_READY)

$(TYPESCRIPT_READY): $(TYPESCRIPT)/package-lock.json
	@cd $(TYPESCRIPT) && npm ci --no-audit --no-fund --silent
	@touch $@

lock-clients: ## Locks the versions of the tests' clients anew
	$(PYTHON) -m venv target/lock
	target/lock/bin/pip install --quiet --disable-pip-version-check uv
	target/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --upgrade --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command 'make lock-clients' \
		--output-file $(CLIENTS)/requirements.txt $(CLIENTS)/requirements.in

test: test-rust test-python test-clients ## Runs every test

build-tests: ## Builds the Rust tests, and the program that all tests run
	$(CARGO) test --locked --no-run

test-rust: setup test-bundle build-tests ## Runs the Rust tests
	$(CARGO) test --locked

test-python: test-bundle ## Runs the exporter's tests
	$(VENV)/bin/python -m pytest -q onnx/tests

# The test build's program: a plain build would compile the dependencies again with fewer features.
test-clients: setup setup-clients build-tests ## Runs real clients against the server, with speech recognition
	$(CLIENTS_VENV)/bin/python -m pytest -q $(CLIENTS)

EXAMPLES ?= 100

fuzz-api: setup setup-clients build-tests ## Sends made-up requests (EXAMPLES for each operation)
	COSYSERVE_FUZZ_EXAMPLES=$(EXAMPLES) $(CLIENTS_VENV)/bin/python -m pytest -q $(CLIENTS)/test_api_cases.py

lint: $(VENV_READY) ## Checks format, lints and documentation, Rust and Python
	$(CARGO) fmt --check
	# From its own directory: seen from here, the folder `onnx` hides the package of that name.
	cd onnx && ../$(VENV)/bin/ruff check . ../tests
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps

openapi: setup ## Writes openapi/openapi.json anew
	$(CARGO) test --locked --test http --no-run
	target/debug/cosyserve openapi > openapi/openapi.json.new
	mv openapi/openapi.json.new openapi/openapi.json

fmt: $(VENV_READY) ## Formats Rust and Python
	$(CARGO) fmt
	cd onnx && ../$(VENV)/bin/ruff check --fix .

bench: setup ## Times the parts: features, sampling, encoders, one model step (ARGS)
	$(CARGO) bench --locked -- $(ARGS)

measure: setup ## Measures whole requests with the release build (ARGS)
	$(CARGO) run --release --locked -- bench $(ARGS)

MINUTES ?= 20

soak: setup ## Speaks for MINUTES (20) and fails when the server's memory grows
	$(CARGO) build --release --locked
	tests/soak.sh $(MINUTES)

clean: ## Removes everything that was built or fetched
	rm -rf target .venv $(CLIENTS_VENV) $(TYPESCRIPT)/node_modules .runtime .pytest_cache .ruff_cache
