# Every target is a command that a person would type; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
DEPS := $(abspath $(or $(MCP_IAP_DEPS),.deps))
export MCP_IAP_DEPS := $(DEPS)
WASM := dist/mcp_iap.wasm
COMPILED = $(TARGET)/wasm32-wasip1/release/mcp_iap.wasm
# What Rust 1.82 and later has for this target, with the vectors of .cargo/config.toml: named, so that a module that
# wants more is refused here and not by an Envoy.
WASM_FEATURES := --enable-simd --enable-bulk-memory --enable-sign-ext --enable-mutable-globals \
  --enable-nontrapping-float-to-int --enable-reference-types --enable-multivalue
TARGET := $(or $(CARGO_TARGET_DIR),target)
BENCH := $(or $(CARGO_TARGET_DIR),bench/target)
EMPTY := $(or $(CARGO_TARGET_DIR),bench/empty/target)
ENVOY_VERSION := 1.40.0
ENVOY_OLDEST := 1.36.4
ENVOY_MATRIX := 1.36.4 1.37.0 1.38.2 1.39.3 1.40.0
DEFAULT_ENVOY := $(DEPS)/envoy-$(ENVOY_VERSION)/envoy/_bin/envoy
OLDEST_ENVOY := $(DEPS)/envoy-$(ENVOY_OLDEST)/envoy/_bin/envoy
# Yours, if you name it: ENVOY=/usr/local/bin/envoy make demo
ENVOY ?= $(DEFAULT_ENVOY)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# Istio's own schemas (kubernetes/customresourcedefinitions.gen.yaml of istio/api), where they are at hand; else the part
# that is carried along.
ISTIO_CRDS ?= $(firstword $(wildcard ../shared/data/istio-crds.yaml ../../shared/data/istio-crds.yaml))
MESH := $(DEPS)/mesh-venv/bin

.PHONY: help build demo demo-up golden test test-jose test-policy test-unit test-wire integration conformance test-clients fuzz bench bench-sinks envoy lint clean deps-demo deps-envoy FORCE test-own test-reload test-keys soak test-stepup demo-servers test-docs test-compose test-matrix test-credentials test-exchange test-kube size instructions micro test-lists test-audit test-metrics test-report test-istio manifests oci wasm reproducible supply-chain sbom

help: ## lists the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: $(WASM) ## builds the filter into dist/ and the command line
	@cargo build --quiet --release --bin mcp-iap
	@cp $(WASM) $(TARGET)/release/mcp_iap.wasm

wasm: $(WASM) ## the module alone, and its checksum
	@sha256sum $(WASM)

# The optimizer takes a minute: it runs where the compiler's module is another than the one it was given last.
$(WASM): FORCE
	@scripts/deps.sh rust-target
	@[ -e $(COMPILED) ] || echo "compiling the filter, the first time some minutes"
	@scripts/wasm.sh
	@[ -e $@ ] && cmp -s $(COMPILED) $(COMPILED).optimized-from || { \
	  mkdir -p dist && \
	  node "$$(scripts/deps.sh wasm-opt)" -O2 $(WASM_FEATURES) $(COMPILED) -o $@.part && \
	  mv $@.part $@ && cp $(COMPILED) $(COMPILED).optimized-from; }

demo: $(WASM) deps-demo ## the main job on a real Envoy, provider, MCP server and client
	@$(DEPS)/venv/bin/python demo/demo.py --envoy "$(ENVOY)" --golden docs/demo.txt
	@cargo run --quiet --release --bin mcp-iap -- audit target/demo/envoy-access.jsonl target/demo/second-access.jsonl \
	  --html target/demo/report.html && echo "who called what, for a browser: target/demo/report.html"

demo-up: $(WASM) deps-demo ## the same, staying up, with curl lines to paste
	@$(DEPS)/venv/bin/python demo/demo.py --envoy "$(ENVOY)" --up

demo-servers: deps-demo ## its MCP server and provider alone, staying up, for you to protect
	@$(DEPS)/venv/bin/python demo/demo.py --servers

golden: $(WASM) deps-demo ## writes the golden files anew: read the difference before you commit it
	@UPDATE_GOLDEN=1 cargo test --quiet --test configuration --test render --test audit_schema --test istio --test cases
	@scripts/deps.sh mesh
	@$(if $(ISTIO_CRDS),$(MESH)/python meshcheck/run.py --kubectl $(MESH)/kubectl --crds $(ISTIO_CRDS) --carry)
	@$(DEPS)/venv/bin/python demo/demo.py --envoy "$(ENVOY)" --write-golden docs/demo.txt

test: test-unit integration manifests ## everything: native tests, a real Envoy over the shipped files, manifests against schemas

test-unit: $(WASM) ## native tests, in seconds
	@cargo test --quiet

integration: $(WASM) deps-envoy ## scenarios on a real Envoy
	@scripts/deps.sh envoy $(ENVOY_OLDEST) >/dev/null
	@scripts/deps.sh node
	@scripts/deps.sh collectors
	@ENVOY="$(ENVOY)" ENVOY_OLDEST="$(OLDEST_ENVOY)" cargo test --quiet --test integration -- --skip soak:: --skip kube:: --skip metrics::

test-wire: $(WASM) deps-envoy ## what gets in and what passes unchanged: every row, on a real Envoy
	@cargo test --quiet --test lenient
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- table http2 streaming

test-jose: $(WASM) deps-envoy ## tokens and keys: the attack list, natively and on a real Envoy
	@scripts/deps.sh envoy $(ENVOY_OLDEST) >/dev/null
	@cargo test --quiet --test attacks --test tokens --test token_cache
	@ENVOY="$(ENVOY)" ENVOY_OLDEST="$(OLDEST_ENVOY)" cargo test --quiet --test integration -- jose

test-credentials: $(WASM) deps-envoy ## API keys, workloads, opaque tokens, nobody: natively and on a real Envoy
	@scripts/deps.sh node
	@cargo test --quiet --test credentials --test judges --test hash_key
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- credentials:: introspection::

test-kube: $(WASM) deps-envoy ## tokens and manifests at a real Kubernetes API server, which the first run builds in about ten minutes
	@scripts/deps.sh kube
	@scripts/deps.sh mesh
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- kube:: --test-threads 1

test-reload: $(WASM) deps-envoy ## twenty changes of the configuration under load: no request is lost
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- reload --nocapture

test-keys: $(WASM) deps-envoy ## the life of keys: natively, with a provider that misbehaves, and with a real one
	@scripts/deps.sh envoy $(ENVOY_OLDEST) >/dev/null
	@scripts/deps.sh node
	@cargo test --quiet --test keys
	@ENVOY="$(ENVOY)" ENVOY_OLDEST="$(OLDEST_ENVOY)" cargo test --quiet --test integration -- keys:: provider:: --test-threads 2

test-lists: $(WASM) deps-demo ## what callers see of lists: natively, with answers that are broken or hostile, and with a real MCP server
	@cargo test --quiet --lib mcp::list:: && cargo test --quiet --lib mcp::events::
	@cargo test --quiet --test lists
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- lists::
	@$(DEPS)/venv/bin/python conformance/lists.py --envoy "$(ENVOY)"

test-exchange: $(WASM) deps-envoy ## tokens for the upstream: natively, with a real provider, and with an endpoint that misbehaves
	@scripts/deps.sh node
	@cargo test --quiet --test exchange --test separation
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- exchange:: --test-threads 2

test-istio: $(WASM) deps-envoy manifests ## Istio: manifests against its schemas with mutants, and the table as a WasmPlugin and an EnvoyFilter have the filter
	@cargo test --quiet --test istio
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- istio:: table:: --test-threads 2

manifests: ## istio/ and kubernetes/ against the schemas of Istio and Kubernetes, and mutants of them
	@scripts/deps.sh mesh
	@$(MESH)/python meshcheck/run.py --kubectl $(MESH)/kubectl $(if $(ISTIO_CRDS),--crds $(ISTIO_CRDS))

oci: $(WASM) sbom ## the module as an image in dist/oci: pushed to a registry on this machine, pulled back, signed
	@scripts/deps.sh mesh
	@scripts/deps.sh registry
	@scripts/oci.py $(WASM) dist/oci $(VERSION)
	@$(MESH)/python meshcheck/image.py --module $(WASM) --layout dist/oci --bill $(WASM).cdx.json --tools $(DEPS)/registry

reproducible: $(WASM) ## compiles the module in another folder: it must be the same, byte by byte
	@scripts/reproducible.sh $(WASM)

supply-chain: sbom ## licences, sources and bans of the dependencies (cargo-deny), and advisories where their database is
	@scripts/deps.sh cargo-deny
	@scripts/deny.sh $(DEPS)/cargo-deny/bin/cargo-deny

sbom: ## what the module and the command line are made of, as CycloneDX in dist/
	@scripts/deps.sh mesh
	@$(MESH)/python scripts/sbom.py dist

soak: $(WASM) deps-envoy ## memory under a flood of TOKENS (40000) unique tokens, each used once
	@ENVOY="$(ENVOY)" TOKENS=$(or $(TOKENS),40000) cargo test --quiet --test integration -- soak:: --nocapture

test-audit: $(WASM) deps-envoy ## records: each end of a request, each sink, their schema, queries, pages, indexes and replays
	@scripts/deps.sh envoy $(ENVOY_OLDEST) >/dev/null
	@scripts/deps.sh collectors
	@cargo test --quiet --lib audit::
	@cargo test --quiet --bin mcp-iap audit::
	@cargo test --quiet --test audit_schema --test audit --test replay
	@ENVOY="$(ENVOY)" ENVOY_OLDEST="$(OLDEST_ENVOY)" cargo test --quiet --test integration -- sinks:: accounting:: fallen::

test-metrics: $(WASM) deps-envoy ## monitoring/: alerts by promtool, and every query by a real Prometheus that scrapes a real Envoy
	@cd monitoring && tools="$$(../scripts/deps.sh prometheus)" && \
	  "$$tools/promtool" check rules alerts.yaml && "$$tools/promtool" test rules alerts.test.yaml
	@cargo test --quiet --test monitoring
	@ENVOY="$(ENVOY)" cargo test --quiet --test integration -- metrics::

test-report: ## the page of `mcp-iap audit --html` in a real Chromium
	@cargo build --quiet --bin mcp-iap
	@packages="$$(scripts/deps.sh browser)" && \
	  node report/browser.mjs "$(TARGET)/debug/mcp-iap" "$$(command -v $(or $(CHROMIUM),chromium))" "$$packages"

test-compose: $(WASM) deps-demo ## docker-compose.yaml as it is, and the demo's steps through it
	@scripts/deps.sh envoy $(ENVOY_VERSION) >/dev/null
	@$(DEPS)/venv/bin/python compose/run.py

test-matrix: $(WASM) ## every scenario on Envoy 1.36 to 1.40, or those that SCENARIOS names
	@for version in $(ENVOY_MATRIX); do scripts/deps.sh envoy $$version >/dev/null || exit; done
	@scripts/deps.sh prometheus >/dev/null
	@scripts/deps.sh collectors
	@scripts/deps.sh node
	@$(if $(SCENARIOS),,scripts/deps.sh mesh && scripts/deps.sh kube)
	@scripts/matrix.py $(foreach version,$(ENVOY_MATRIX),$(version)=$(DEPS)/envoy-$(version)/envoy/_bin/envoy) $(SCENARIOS)

test-policy: ## the shipped policies against the cases that go with them
	@cargo run --quiet --bin mcp-iap -- test examples/cases/*.yaml

conformance: $(WASM) deps-demo ## the official MCP conformance suite, directly and through the gate
	@scripts/deps.sh conformance
	@$(DEPS)/venv/bin/python conformance/run.py --envoy "$(ENVOY)"

test-clients: $(WASM) deps-demo ## real MCP clients through the gate, each in every mode that it has
	@scripts/deps.sh clients
	@$(DEPS)/venv/bin/python clients/run.py --envoy "$(ENVOY)"

test-own: build deps-demo ## a newcomer with a server and an issuer of their own: init, check, run, and paste into their Envoy
	@scripts/deps.sh clients
	@$(DEPS)/clients-venv/bin/python newcomer/newcomer.py --envoy "$(ENVOY)" --cli "$(TARGET)/release/mcp-iap"

test-stepup: build deps-demo ## real MCP clients, given a URL alone, log in and step up, behind a TLS proxy
	@scripts/deps.sh clients
	@$(DEPS)/venv/bin/python clients/stepup.py --envoy "$(ENVOY)" --cli $(TARGET)/release/mcp-iap

test-docs: build deps-demo ## runs what README and docs have a reader type, and compares what is printed
	@$(DEPS)/venv/bin/python doccheck/run.py --cli "$(TARGET)/release/mcp-iap"

fuzz: ## each parser's fuzz target for SECONDS_EACH (10) seconds from the corpus in the tree
	@scripts/fuzz.sh $(or $(SECONDS_EACH),10)

bench: $(WASM) deps-envoy ## what the filter costs, side by side with Envoy's own: some minutes on a quiet machine
	@cd bench && cargo build --quiet --release
	@cd bench/empty && cargo build --quiet --release --target wasm32-wasip1
	@taskset --cpu-list 1 $(BENCH)/release/mcp-iap-bench --envoy "$(ENVOY)" --module $(WASM) \
	  --empty $(EMPTY)/wasm32-wasip1/release/empty.wasm $(BENCH_OPTIONS)

bench-sinks: $(WASM) deps-envoy ## what records cost at each sink, side by side: two minutes on a quiet machine
	@$(MAKE) --no-print-directory bench BENCH_OPTIONS="--sinks $(BENCH_OPTIONS)"

instructions: $(WASM) ## how many instructions each kind of request takes in the module, in an interpreter: no Envoy
	@cd bench && cargo test --quiet --release && cargo build --quiet --release
	@$(BENCH)/release/mcp-iap-bench --instructions bench/instructions.txt --module $(WASM) $(BENCH_OPTIONS)

micro: ## what each station of a request takes natively
	@cargo bench --quiet --profile micro --bench stations

size: $(WASM) ## what takes how much room in the module
	@CARGO_PROFILE_RELEASE_STRIP=debuginfo cargo build --quiet --release --target wasm32-wasip1 --lib \
	  --target-dir $(TARGET)/named
	@scripts/size.py $(WASM) $(TARGET)/named/wasm32-wasip1/release/mcp_iap.wasm

envoy: ## installs the default Envoy and prints where it is
	@scripts/deps.sh envoy $(ENVOY_VERSION)

deps-demo: deps-envoy
	@scripts/deps.sh python
	@scripts/deps.sh node

deps-envoy:
	@[ "$(ENVOY)" != "$(DEFAULT_ENVOY)" ] || scripts/deps.sh envoy $(ENVOY_VERSION) >/dev/null

lint: ## formatting and lints, as CI has them
	@cargo fmt --check
	@cargo clippy --quiet --all-targets -- -D warnings
	@cargo clippy --quiet --test integration -- -D warnings
	@scripts/deps.sh rust-target
	@cargo clippy --quiet --release --target wasm32-wasip1 --lib -- -D warnings

clean: ## removes what was built, and the folder of dependencies
	@rm -rf target dist .deps demo/provider/node_modules clients/node_modules
