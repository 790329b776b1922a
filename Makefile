# Every target sets up what it needs by itself, from a plain python3.
#
#   make demo       train and evaluate MaskMed on a made-up data set, in minutes
#   make test       lint and the fast tests
#   make test-real  the tests on real data (folder: MASKMED_REAL_DATA)
#
# TORCH is installed together with the package, so that pip settles on this one release instead of fetching the newest
# and its libraries later. Without an NVIDIA driver its CPU build is taken wherever pip's indexes have it: it is a
# fraction of the size. PyPI alone has it only for some systems; PIP_EXTRA_INDEX_URL=<the index named on torch's install
# page> adds it on Linux.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
# Files run in parallel processes; end-to-end tests share the cores with nnU-Net's own workers.
JOBS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

.PHONY: demo test lint test-slow test-real test-real-short wheel clean

demo: $(READY)
	$(BIN)/maskmed demo

test: lint
	$(PYTEST) -m "not real_data and not slow"

lint: $(READY)
	$(BIN)/ruff check .

test-slow: $(READY)
	$(PYTEST) -m "slow and not real_data"

test-real: $(READY)
	$(PYTEST) -m real_data

test-real-short: $(READY)
	$(PYTEST) -m "real_data and not slow"

wheel: $(READY)
	$(BIN)/python -m build --wheel

$(READY): pyproject.toml maskmed_nnu.pth
	$(PYTHON) -m venv $(VENV)
	command -v nvidia-smi || $(BIN)/python -m pip install "$(TORCH)+cpu" || true
	$(BIN)/python -m pip install "$(TORCH)" -e ".[test]"
	touch $(READY)

clean:
	rm -rf $(VENV) build dist
