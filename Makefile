# Every target makes the environment that it needs; a second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help demo study test faults trainers bench check format clean

help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## label real pictures, look at the labels, train on them: 4 to 5 minutes on 2 cores
	$(BIN)/python -m demo

study: $(INSTALLED)  ## measure which teaching and which labels help a student: docs/study.md; an hour and more on 2 cores
	$(BIN)/python -m demo.study

faults: $(INSTALLED)  ## kill, fill and cut off real jobs in all ways that docs/reliability.md lists
	FAULTS=all $(BIN)/python -m pytest tests/test_faults.py

test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest

trainers: $(INSTALLED)  ## install Hugging Face's Trainer, Lightning and WebDataset, and run the tests of all trainers
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[annotate,hdf5,s3,dev,trainers]'
	$(BIN)/python -m pytest tests/test_trainers.py

bench: $(INSTALLED)  ## measure size and speed beside the alternatives: about 10 minutes on 2 cores
	$(BIN)/python -m benchmarks

check: $(INSTALLED)  ## lint, formatting, types and the layer rule: what CI runs besides the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## mend formatting and what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove the environment and all that the demo made
	rm -rf .venv demo/out demo/out-study

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[annotate,hdf5,s3,dev]'
	@touch $(INSTALLED)
