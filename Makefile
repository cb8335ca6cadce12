# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
#
# PYTHON       the interpreter that makes the virtual environment (3.11 or later)
# PIP_OPTIONS  extra options of pip, for example to take another build of torch:
#              make demo PIP_OPTIONS='--index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple'
PYTHON ?= python3
PIP_OPTIONS ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.PHONY: demo test check slow docs models format clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --editable '.[dev]'
	touch $@

$(VENV)/.notebook: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --editable '.[notebook]'
	touch $@

# Train and evaluate five models on the embedded grammar: a language model, the collapsed baseline, and three remedies.
# One table, with the exact floor, and a web page about the runs; they stay in runs/demo, and a repeated demo only reads them.
demo: $(VENV)/.installed
	$(BIN)/uncollapse bench --recipe grammar --remedies lm,vanilla,annealed,bn,kl-controller --jobs 2 --out $(DEMO)

# The tests that take no more than a few minutes.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m 'not slow' --numprocesses 2

# Everything a reviewer would run.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

# The documentation, in site/; warnings are errors.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet $(PIP_OPTIONS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict

# What takes longer: the notebook, and He et al.'s toy (plain and aggressive).
slow: $(VENV)/.notebook
	$(BIN)/python -m pytest -m slow

# The small runs that come with the package, trained anew.
models: $(VENV)/.installed
	$(BIN)/python benchmarks/models.py

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
