# Every target makes the environment that it needs; a second call installs nothing.
PYTHON ?= python3
# An environment for each Python that is named: make test PYTHON=python3.13
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# Processes of the tests: one more than cores, as those that start Ray or a server wait for much of their time.
JOBS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
# Also where the variable is set: else each of the tests' hundreds of processes would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo study test oldest faults families trainers bench gpu api docs dist check format clean

help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## label photographs and digits, inspect the labels, train on them: 5 to 7 minutes on 2 cores
	$(BIN)/python -m demo

study: $(INSTALLED)  ## measure which targets and labels help a student: docs/study.md; STUDY=stem, STUDY=students for others; an hour
	$(BIN)/python -m demo.$(if $(STUDY),studies.$(STUDY),study)

faults: $(INSTALLED)  ## run real jobs through every fault that docs/reliability.md lists
	FAULTS=all $(BIN)/python -m pytest tests/faults

families: $(INSTALLED)  ## run the contract of students over a network of every family of timm, 5 to 10 minutes
	FAMILIES=all $(BIN)/python -m pytest tests/tokenlabel/models/test_token_head.py

test: $(INSTALLED)  ## run the tests, one process more than cores; JOBS=1 for one, which pytest's debugger needs
	$(BIN)/python -m pytest --numprocesses $(JOBS) --maxprocesses 8 --dist loadgroup --no-loadscope-reorder --durations 20

# Its Ray, 2.52, leaves files open, of which Python warns when they are freed; its torch, 2.6, warns of its own compiling.
# Containers have the newest versions, as have the defaults of other packages on docs/api.md; and the table comes last.
oldest:  ## run the tests with the oldest versions that setup.cfg allows, in their own environment; docs/dependencies.md
	$(PYTHON) -m venv .venv-oldest
	sed -n 's/^    \([a-z0-9-]*\)>=\(.*\)/\1==\2/p' setup.cfg | sort -u > .venv-oldest/oldest.txt
	.venv-oldest/bin/python -m pip install --disable-pip-version-check --constraint .venv-oldest/oldest.txt --editable '.[annotate,images,hdf5,s3,fast,dev]'
	.venv-oldest/bin/python -m pytest --numprocesses $(JOBS) -W ignore::ResourceWarning -W "ignore:<class 'torch.autograd.function.Function'> should not be instantiated:DeprecationWarning" --maxprocesses 8 --dist loadgroup --no-loadscope-reorder --deselect tests/distribution/test_oldest.py --deselect tests/distribution/test_containers.py --deselect tests/test_api_page.py::test_the_page_is_up_to_date
	.venv-oldest/bin/python -m docs.oldest

trainers: $(INSTALLED)  ## install other people's trainers and augmentations, and run the tests of all trainers
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[annotate,hdf5,s3,dev,trainers]'
	$(BIN)/python -m pytest tests/examples

api: $(INSTALLED)  ## write docs/api.md from the docstrings of all public names
	$(BIN)/python -m docs.api

docs: $(INSTALLED)  ## write the documentation site to build/site, and fail on any warning or broken link
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/site

dist: $(INSTALLED)  ## write the sdist and the wheel to dist/
	$(BIN)/python -m build --no-isolation --outdir dist

bench: $(INSTALLED)  ## measure size and speed beside the alternatives: about 10 minutes on 2 cores
	$(BIN)/python -m benchmarks

gpu:  ## measure labelling and a training step on the GPU of this machine, and write docs/gpu.md: less than 8 minutes
	$(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu

check: $(INSTALLED)  ## lint, formatting, types and the layer rule: what CI runs besides the tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)  ## correct formatting, and what the linter can correct
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove the environment and everything that the demo, the docs and dist made
	rm -rf .venv .venv-* demo/out demo/out-study build dist

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[annotate,hdf5,hf,s3,dev,docs,demo]'
	@touch $(INSTALLED)
