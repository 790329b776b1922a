# Every target sets up what it needs by itself, from a plain python3.
#
#   make demo       train and evaluate MaskMed on made-up organs, in minutes; make demo TASK=cells, cells3d or lesions
#   make check      formatting, lint, types, imports and the fastest tests
#   make test       all fast tests
#   make test-slow  variants of the end-to-end tests, and what takes minutes
#   make test-study  one study by Snakemake, here and on a Slurm cluster of one node, compared with its commands by hand
#   make test-cluster  the same, and trainings that are stopped at random
#   make test-real  the tests on real data (folder: MASKMED_REAL_DATA)
#   make test-napari  the tests of the plugin of napari, which it installs
#   make cuda-check the tests of tests/cuda with the CUDA build of torch, which needs no GPU for them
#   make gpu-check  all checks of a GPU, in six minutes; make gpu-carry collects what a bare machine lacks for them
#   make bench-quick  what networks and steps cost beside their peers, in under five minutes on two cores
#   make docs       write what is generated in docs/, and build the site into site/; make docs-serve shows it
#   make docs-test  follow every tutorial from an empty folder, and put its output into its page
#
# TORCH is installed together with the package, so that pip settles on this one release instead of fetching the newest
# and its libraries later. Without an NVIDIA driver its CPU build is taken wherever pip's indexes have it: it is a
# fraction of the size. PyPI alone has it only for some systems; PIP_EXTRA_INDEX_URL=<the index named on torch's install
# page> adds it on Linux.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
TORCH_CUDA ?= torch==2.14.1 torchvision==0.29.1
TASK ?= organs
# Files run in parallel processes, in the order of their names, so that end-to-end tests, which take longest, are not the
# last; they share the cores with nnU-Net's own workers.
JOBS ?= 2

BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_CLUSTER := .venv-cluster/.ready
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
FAST := -m "not real_data and not slow and not cluster"
STUDIES := tests/workflow tests/e2e/test_study.py
# Files without nnU-Net's commands, trainers or large networks.
FASTEST := tests/analysis tests/demo/test_dice_scores.py tests/instances/metrics tests/instances/stitching \
	tests/losses/test_targets.py tests/losses/test_points.py tests/nnunet/plans_handling

.PHONY: demo check lint test test-slow test-study test-cluster test-real test-real-short test-napari cuda-check gpu-check gpu-carry \
	coverage bench-quick docs docs-tables docs-serve docs-test wheel clean

demo: $(READY)
	$(BIN)/maskmed demo --task $(TASK)

check: lint
	$(PYTEST) $(FAST) $(FASTEST)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m maskmed_nnu.nnunet.plans_handling.write_docs --check

test: $(READY)
	$(PYTEST) $(FAST)

test-slow: $(READY)
	$(PYTEST) -m "slow and not real_data"

# pytest ends with 5 where nothing runs: Snakemake needs Python 3.11
test-study: $(READY_CLUSTER)
	tests/e2e/with_slurm.sh .venv-cluster/bin/python -m pytest -m cluster $(STUDIES) || [ $$? = 5 ]

test-cluster: $(READY_CLUSTER)
	tests/e2e/with_slurm.sh .venv-cluster/bin/python -m pytest -m cluster $(STUDIES) tests/benchmarks/test_survival.py

test-real: $(READY)
	$(PYTEST) -m real_data

test-real-short: $(READY)
	$(PYTEST) -m "real_data and not slow"

# napari and Qt are large; it needs Xvfb on Linux (apt-get install xvfb libegl1 libxcb-cursor0)
test-napari: $(READY)
	$(BIN)/python -m pip install -q -e ".[napari]"
	xvfb-run -a -s "-screen 0 1400x900x24" $(BIN)/python -m pytest tests/napari_plugin

# fake CUDA tensors do not exist in the CPU build
cuda-check:
	$(PYTHON) -m venv .venv-cuda
	.venv-cuda/bin/python -m pip install -q $(TORCH_CUDA) -e . pytest pytest-timeout
	.venv-cuda/bin/python -m pytest tests/cuda

gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu $(if $(wildcard .gpu-carry),--carry .gpu-carry)

gpu-carry: $(READY)
	$(BIN)/python -m benchmarks.gpu.carry .gpu-carry --data $${MASKMED_REAL_DATA:-../shared/data}/Dataset004_Hippocampus

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(FAST)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

bench-quick: $(READY)
	$(BIN)/python -m benchmarks quick --threads 2

docs: docs-tables
	$(BIN)/mkdocs build --strict --quiet

docs-tables: $(READY)
	$(BIN)/python -m maskmed_nnu.nnunet.plans_handling.write_docs
	$(BIN)/python -m tests.instances.formats_matrix
	$(BIN)/python -m tests.cli.commands_page

docs-serve: docs-tables
	$(BIN)/mkdocs serve

# minutes for each tutorial; their output goes into their pages
docs-test: $(READY)
	$(BIN)/python -m tests.docs.follow

wheel: $(READY)
	$(BIN)/python -m build --wheel

$(READY): pyproject.toml maskmed_nnu.pth
	$(PYTHON) -m venv $(VENV)
	command -v nvidia-smi || $(BIN)/python -m pip install "$(TORCH)+cpu" || true
	$(BIN)/python -m pip install "$(TORCH)" -e ".[test,dev,docs]"
	touch $(READY)

# Snakemake's executor for Slurm wants a newer NumPy than panoptica, which other tests need
$(READY_CLUSTER): pyproject.toml maskmed_nnu.pth
	$(PYTHON) -m venv .venv-cluster
	command -v nvidia-smi || .venv-cluster/bin/python -m pip install "$(TORCH)+cpu" || true
	.venv-cluster/bin/python -m pip install "$(TORCH)" -e ".[cluster]" pytest pytest-timeout
	touch $(READY_CLUSTER)

clean:
	rm -rf $(VENV) .venv-cuda .venv-cluster .gpu-carry build dist site
