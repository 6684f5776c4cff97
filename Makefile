# make dev      a worker, a broker and a receiver on this machine: events arrive in the terminal
# make test     the tests, one process for each core (JOBS=0: in one); a real Kafka comes from WEBHOOKS_TEST_KAFKA or from
#               Docker, and is skipped without both
# make check    formatting, lint, types
# make format   mend what can be mended
# make mutants  faults planted in the source, each of which has to be found; ARGS picks (tests/mutants/__main__.py)
# make bench    the benchmarks
# make faults   a cluster broken on purpose, every fault alone; ARGS picks (tests/faults/README.md)
# make soak     an hour of faults, and what the workers use meanwhile
# make lock     resolve the dependencies again
# make clean    remove what these made

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= auto

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
TOOLS := $(VENV)/.tools-installed
UV := uv==0.13.9

.PHONY: dev test check format mutants bench faults soak lock clean

dev: $(RUNTIME)
	$(BIN)/webhooks dev $(ARGS)

test: $(TOOLS)
	$(BIN)/pytest --numprocesses $(JOBS) $(ARGS)

check: $(TOOLS)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(TOOLS)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

mutants: $(TOOLS)
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(TOOLS)
	$(BIN)/python -m tests.benchmarks $(ARGS)

faults: $(TOOLS)
	$(BIN)/python -m tests.faults run $(ARGS)

soak: $(TOOLS)
	$(BIN)/python -m tests.faults soak $(ARGS)

$(RUNTIME): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed and $(PYTHON) is older or missing; say which to use: make PYTHON=python3.12"; \
	  exit 1; }
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing what requirements.lock names into $(VENV): half a minute the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(TOOLS): $(RUNTIME) requirements-dev.lock
	@echo "installing the tools for tests and checks into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@touch $@

# One resolution for every Python and platform, so that all of them run the same versions. PIP_FIND_LINKS and a
# configured index are left out: a lock file names versions and hashes, never a place.
COMPILE = env -u UV_FIND_LINKS -u PIP_FIND_LINKS build/lock/bin/uv pip compile --quiet --upgrade \
  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock"

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '$(UV)'
	$(COMPILE) pyproject.toml --extra dev-broker --output-file requirements.lock
	$(COMPILE) pyproject.toml --extra dev-broker --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --group build --output-file requirements-build.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
