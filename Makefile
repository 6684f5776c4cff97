# make dev      run a worker, a broker and a receiver on this machine; events are printed in the terminal
# make test     the tests, in one process more than there are cores (JOBS=0: in one); tests that need a real Kafka use
#               WEBHOOKS_TEST_KAFKA or Docker, and are skipped without either
# make wheel    build wheel and sdist into dist/, and test the core and the commands on the installed wheel
# make release  make wheel, the list of components (CycloneDX), the section of the changelog, the image and the tag;
#               DRY_RUN=1: everything but the tag
# make check    check formatting, lint and types
# make format   fix formatting, and the lint errors that can be fixed automatically
# make mutants  plant faults in the source, each of which a test must find; ARGS selects (tests/mutants/__main__.py)
# make bench    run the benchmarks
# make faults   break a cluster, one fault at a time; ARGS selects (tests/faults/README.md)
# make soak     run faults for an hour, and measure the resources that workers use
# make lock     resolve the dependencies again
# make clean    remove everything that these targets created

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# Tests on brokers wait most of the time, so there is one more process than cores.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
TOOLS := $(VENV)/.tools-installed
UV := uv==0.13.9
# The schemas of Kubernetes, for tests of the Helm chart. With its 22 MB it has an environment of its own (.ci/tools).
VALIDATE := kubernetes-validate>=1.37,<2

INSTALL = { $(BIN)/python -m pip install --progress-bar off --disable-pip-version-check --require-hashes
# Replaces the output of pip by one line. FAILED is passed on, because a pipe has the exit status of its last command.
PROGRESS = || echo FAILED; } | { found=0; while read -r word rest; do case "$$word" in \
	  Collecting | Requirement) found=$$((found + 1)); [ ! -t 1 ] || printf 'packages: %s\r' "$$found" ;; \
	  Installing) printf 'packages: %s, downloaded; writing them\n' "$$found" ;; \
	  FAILED) exit 1 ;; \
	  esac; done; }

.PHONY: dev test wheel release check format mutants bench faults soak lock clean

dev: $(RUNTIME)
	$(BIN)/webhooks dev $(ARGS)

# Byte code is kept, because tests start some hundred processes, and each would compile the whole source.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(TOOLS)
	$(BIN)/pytest --numprocesses $(JOBS) $(ARGS)

wheel:
	PYTHON=$(PYTHON) .ci/wheel

release:
	PYTHON=$(PYTHON) .ci/release

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

$(RUNTIME): requirements.lock requirements-dev-broker.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "$(PYTHON) is missing or older than Python 3.11; name another one: make PYTHON=python3.12"; \
	  exit 1; }
	@test -x $(BIN)/python || { echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing the packages in requirements.lock into $(VENV)"
	@$(INSTALL) --requirement requirements.lock --requirement requirements-dev-broker.lock $(PROGRESS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(TOOLS): $(RUNTIME) requirements-dev.lock
	@echo "installing the tools for tests and checks into $(VENV)"
	@$(INSTALL) --requirement requirements-dev.lock $(PROGRESS)
	@touch $@

# One resolution for every Python and platform, so that all run the same versions. PIP_FIND_LINKS and a configured
# index are ignored, because a lock file contains versions and hashes, but no index.
COMPILE = env -u UV_FIND_LINKS -u PIP_FIND_LINKS build/lock/bin/uv pip compile --quiet --upgrade \
  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make lock"

lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '$(UV)'
	$(COMPILE) pyproject.toml --output-file requirements.lock
	$(COMPILE) --group dev-broker --output-file requirements-dev-broker.lock
	$(COMPILE) pyproject.toml --group dev --constraint requirements.lock --constraint requirements-dev-broker.lock \
	  --output-file requirements-dev.lock
	$(COMPILE) --group build --output-file requirements-build.lock
	$(COMPILE) --group release --output-file requirements-release.lock
	echo '$(VALIDATE)' | $(COMPILE) - --output-file requirements-chart.lock

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
