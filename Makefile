# Two commands matter: `make demo` (set up and run the main job) and `make test` (set up and run the tests).
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
CORES ?= $(shell nproc)

.PHONY: help demo test test-clients docker-test prove experiment-full lint format check-readme lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/run.stamp  ## set up, run the quickstart recipe, print its table and the next command
	$(BIN)/mtkd run data_recipes/quickstart --cores $(CORES)
	@echo "      (mtkd is $(BIN)/mtkd; '. $(BIN)/activate' puts it on your PATH)"

test: $(VENV)/dev.stamp  ## set up, lint, run the tests and hold the coverage
	$(MAKE) --no-print-directory lint
	$(BIN)/coverage erase
	@# Two trainings at once on these cores: threads that wait must not spin, or each slows the other down tenfold.
	OMP_WAIT_POLICY=passive $(BIN)/coverage run -m pytest -n $(CORES) --dist loadfile --durations=20
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --fail-under=90

test-clients: $(VENV)/dev.stamp  ## real translation clients, downloaded to .clients/, against the real server
	@command -v npm >/dev/null || { echo "one of the clients needs npm, e.g. apt-get install npm"; exit 2; }
	@mkdir -p .clients && echo '*' > .clients/.gitignore
	$(BIN)/python -m pytest tests/clients -m clients

lint: $(VENV)/dev.stamp  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint docker/*.Dockerfile
	$(BIN)/yamllint --strict docker data_recipes .*.yaml

format: $(VENV)/dev.stamp  ## mend formatting and what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check-readme: $(VENV)/dev.stamp  ## run what README shows, and hold its tables against what was measured
	$(BIN)/python -m pytest tests/readme -m 'readme or not readme'

prove: $(VENV)/dev.stamp  ## the claims that take minutes: the toy's students, a run killed while it trains
	$(BIN)/python -m pytest tests/proofs tests/e2e tests/bench tests/fairseq -m proof -s

# With no engine at hand, Debian's is installed, to be started for the tests alone (tests/docker/engine.py).
docker-test: $(VENV)/dev.stamp  ## build both images, train in one, serve from the other
	@docker info >/dev/null 2>&1 || which dockerd docker-compose debootstrap >/dev/null \
		|| apt-get install --yes --no-install-recommends docker.io docker-compose debootstrap
	$(BIN)/python -m pytest tests/docker -m 'docker or not docker' -s

experiment-full: $(VENV)/run.stamp  ## the large grid of data_recipes/experiment_en_de, for a GPU; continues where it stopped
	$(BIN)/mtkd experiment data_recipes/experiment_en_de/full.yaml --cores $(CORES)

# Exactly one torch: it goes in first, then fairseq is built against it without its own dependency list, which names
# torchaudio (never imported by translation) and would fetch a second torch.
$(VENV)/run.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
		|| { echo "mtkd needs Python 3.11 or 3.12; set one with: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@command -v c++ >/dev/null || { echo "mtkd needs a C++ compiler to build fairseq, e.g. apt-get install g++"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing torch"
	$(PIP) install -c constraints.txt torch numpy setuptools wheel cython
	@echo "building fairseq (about four minutes the first time)"
	$(PIP) install --no-build-isolation --no-deps fairseq-fixed==0.12.3.1
	@echo "installing mtkd"
	$(PIP) install --no-warn-conflicts -c constraints.txt -e '.[train,serve]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(PIP) install --no-warn-conflicts -c constraints.txt -e '.[train,serve,dev]'
	@touch $@

lock: $(VENV)/dev.stamp  ## write constraints.txt anew from what is installed
	{ sed -n '/^#/p' constraints.txt; echo torch==2.13.0; \
	  $(BIN)/pip freeze --exclude-editable --exclude torch --exclude fairseq-fixed; } > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove what was built, but not runs/
	rm -rf $(VENV) .clients build *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage*
