# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
#
# PYTHON       the interpreter that makes the virtual environment (3.11 or later)
# PIP_OPTIONS  extra options of pip, for example to take another build of torch:
#              make demo PIP_OPTIONS='--index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple'
#
# pip compiles nothing (--no-compile): Python does so once for what is imported, and an installation takes a third of the time.
PYTHON ?= python3
PIP_OPTIONS ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test check slow notebooks knocks test-oldest dist docs models format clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --editable '.[dev]'
	touch $@

$(VENV)/.notebook: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --editable '.[notebook]'
	touch $@

# Train and evaluate five models on the embedded grammar: a language model, the collapsed baseline, and three remedies.
# Five epochs each. One table, with the exact floor, and a web page about the runs; they stay in runs/demo, and a repeated demo only reads them.
demo: $(VENV)/.installed
	$(BIN)/uncollapse bench --recipe grammar --train.epochs 5 --remedies lm,vanilla,annealed,bn,kl-controller --jobs 2 --out $(DEMO)

# The tests that take no more than a few minutes.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not slow' --numprocesses 2 --dist loadscope

# Everything a reviewer would run.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

# The documentation, in site/; warnings are errors.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-compile $(PIP_OPTIONS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# What takes longer: the notebooks, and He et al.'s toy (plain and aggressive); faults at random; 100,000 inputs a reader (two hours of two cores).
slow: $(VENV)/.notebook
	$(BIN)/python -m pytest -m slow
	$(MAKE) knocks
	UNCOLLAPSE_FUZZ=100000 $(BIN)/python -m pytest tests/fuzz --numprocesses 2

# Execute the notebooks and keep what they show.
notebooks: $(VENV)/.notebook
	$(BIN)/python benchmarks/notebooks.py

# Kill, stop and starve commands at random moments; write docs/reliability.md.
knocks: $(VENV)/.dev
	$(BIN)/python benchmarks/knocks.py --write docs/reliability.md

# The tests on the oldest supported versions, in an environment of their own.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --no-compile $(PIP_OPTIONS) -r tests/oldest.txt --editable .
	.venv-oldest/bin/python -m pytest -m 'not slow' --numprocesses 2 --dist loadscope

# The wheel, installed in an empty environment apart from the checkout, where the README's first commands run.
dist:
	rm -rf dist build/wheel
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --no-compile build
	build/wheel/bin/python -m build --outdir dist .
	$(PYTHON) -m venv --clear build/wheel
	build/wheel/bin/python -m pip install --quiet --no-compile $(PIP_OPTIONS) dist/*.whl
	build/wheel/bin/python tests/installed.py build/wheel/bin/uncollapse

# The small runs that come with the package, trained anew.
models: $(VENV)/.installed
	$(BIN)/python benchmarks/models.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-oldest build dist site .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
