# Two commands on a fresh machine: `make demo` and `make test`. Each sets up .venv first; a second run finds it there.

PYTHON ?= $(shell for p in python3 python3.11 python3.12; do $$p -c 'import sys; sys.exit(sys.version_info[:2] not in [(3, 11), (3, 12)])' 2>/dev/null && echo $$p && break; done)
# With an NVIDIA GPU the plain build of torch (CUDA); without one the CPU build, where pip's settings or TORCH_INDEX lead to it.
TORCH := $(shell nvidia-smi -L >/dev/null 2>&1 && echo 'torch===2.13.0' || echo 'torch==2.13.0')
TORCH_INDEX ?=
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo test test-ci test-all proofs faults lint docs clean

install: $(INSTALLED)

# --use-pep517: seqeval is a source distribution, and built the old way it gets a part of its build's requirements only.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or 3.12 found: install one, or run 'make PYTHON=/path/to/python'" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt '$(TORCH)'
	$(BIN)/pip install --quiet --disable-pip-version-check --use-pep517 -c constraints.txt -e '.[test]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/biobert-scale demo --output runs/demo

# Four at a time also on two cores: half of a test's time is waiting for a disk, a process or a server. The compiled modules
# are kept, whatever the environment says, for the hundreds of processes that the tests start.
test: $(INSTALLED)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m 'not slow and not proof' -n 4 --dist loadfile

# Of the slow tests those that continuous integration runs: the demo's promises, on its outputs, the container's image, and what starts ranks.
# `make test-all` at the same commit does not run them again.
test-ci: $(INSTALLED)
	$(BIN)/python -m pytest -m slow --record=build/test-all.jsonl tests/test_demo_promises.py tests/containers
	timeout --signal=INT --kill-after=60 40m $(BIN)/python -m pytest -m 'slow and not proof' --maxfail=1 --record=build/test-all.jsonl tests/distributed

# Hours of tests, which resume: what has passed at this commit is not run again.
test-all: test
	$(BIN)/python -m pytest -m 'slow and not proof' --record=build/test-all.jsonl

proofs: $(INSTALLED)
	$(BIN)/python -m pytest -m proof --record=build/proofs.jsonl

# Every fault that a test puts into the product, and their table, also where one was not survived.
faults: $(INSTALLED)
	@mkdir -p build
	$(BIN)/python -m pytest -m fault --record=build/faults.jsonl; code=$$?; \
	$(BIN)/python -m tests.faults build/faults.jsonl > build/faults.md && cp build/faults.md benchmarks/faults.md; exit $$code

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy biobert_scale
	$(BIN)/mypy --config-file= --ignore-missing-imports --follow-imports=silent --cache-dir=.mypy_cache/tests tests benchmarks docs_site
	$(BIN)/pip-licenses --python $(BIN)/python --summary

# The documentation site: build/site/index.html.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

clean:
	rm -rf runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
