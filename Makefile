# make run: set up and show a first result. make compare: all algorithms. make test: set up and run the tests.
# Needs python3 (>= 3.11) and make.
# Each installs what it needs and no more: run the package alone, test what tests need, lint the linters too.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=loadfile

.PHONY: run compare test test-slow lint docs setup clean
.NOTPARALLEL:

run: OUT ?= results/quickstart
run: $(VENV)/run
	$(BIN)/iapo quickstart --out $(OUT)

compare: OUT ?= results/compare
compare: $(VENV)/run
	$(BIN)/iapo compare --algorithm all --out $(OUT)

test: $(VENV)/test
	$(BIN)/python -m pytest $(PARALLEL)

test-slow: $(VENV)/test
	$(BIN)/python -m pytest -m slow $(PARALLEL)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/docs
	$(BIN)/python docs/build.py

setup: $(VENV)/dev

$(VENV)/run: EXTRAS :=
$(VENV)/test: EXTRAS := [test]
$(VENV)/dev: EXTRAS := [dev]
$(VENV)/docs: EXTRAS := [docs]
$(VENV)/run $(VENV)/test $(VENV)/dev $(VENV)/docs: pyproject.toml | $(VENV)/made
	$(BIN)/python -m pip install --quiet --editable '.$(EXTRAS)'
	@touch $@

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; name a newer one with make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@touch $@

clean:
	rm -rf $(VENV) results .pytest_cache .ruff_cache build dist
