# Every target sets up what it needs: an environment in .venv, torch in it, the package with its extension. A second
# run finds the stamps in .venv/.stamps and goes straight to the work.
#
#   TORCH=torch==2.13.0 make test    chooses the torch; without TORCH an installed one stays, and a missing one is `torch`
#   TORCHDIFF_NO_EXT=1 make test     pure Python: nothing is compiled
#   PYTHON=python3.12 make test      the Python that makes the environment

SHELL := /bin/bash
# idle threads sleep instead of spinning: beside another busy process, spinning made small networks 3 times slower
export OMP_WAIT_POLICY ?= passive
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
NATIVE := $(wildcard csrc/*.cpp csrc/*.cu csrc/*.h csrc/*.cuh)
SHIM := $(wildcard tests/shim/*.cpp tests/shim/*.h)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help demo test test-all lint format check-normals bench auto quality train cuda-compile cuda-build cuda-shim sanitize clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(STAMPS)/extra-demo ## build everything, race solvers on the digits: table, pictures and report in out/
	$(BIN)/torchdiff bench digits --quick --out out

# a process a core, up to 8 (each loads torch); whoever has nothing left takes tests of another's
PARALLEL := -n auto --maxprocesses 8 --dist worksteal

test: $(STAMPS)/extra-test ## the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: $(STAMPS)/extra-test ## all the tests
	$(BIN)/python -m pytest $(PARALLEL)

lint: $(STAMPS)/extra-lint $(STAMPS)/extra-test ## ruff, pyright and clang-format; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(if $(NATIVE),$(BIN)/clang-format --dry-run -Werror $(NATIVE) $(SHIM))

format: $(STAMPS)/extra-lint ## put the code into the form that lint asks for
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .
	$(if $(NATIVE),$(BIN)/clang-format -i $(NATIVE) $(SHIM))

check-normals: $(STAMPS)/extra-test ## every word through the maps to normals, and their law at 1e9 draws
	$(BIN)/python tools/check_normals.py

bench: $(STAMPS)/extra-bench ## time the ops against eager torch, torch.compile, diffusers, torchsde: benchmarks/RESULTS.md
	env -u OMP_WAIT_POLICY $(BIN)/python -m pytest benchmarks --results benchmarks/RESULTS.md --benchmark-columns=median,iqr,rounds

auto: $(STAMPS)/extra-demo ## measure what solver="auto" takes: torchdiff/auto.json and docs/auto.md
	$(BIN)/python -m benchmarks.auto

quality: $(STAMPS)/extra-demo $(STAMPS)/extra-bench ## steps against quality, ours beside diffusers' and azula's: docs/benchmarks.md
	@$(PIP) --no-deps azula==0.11.1 einops # with what it asks for, torchvision, comes another torch
	$(BIN)/python benchmarks/quality.py

train: $(STAMPS)/extra-train ## train the small networks of torchdiff.zoo
	$(BIN)/python -m torchdiff.zoo.train

cuda-compile: $(STAMPS)/package ## compile the CUDA sources where nvcc is at hand; nothing is run
	$(BIN)/python tools/cuda_compile.py

cuda-build: ## build against the CUDA build of torch, in .venv-cuda (several GB)
	bash tools/cuda_build.sh .venv-cuda

cuda-shim: $(STAMPS)/extra-test ## run the CUDA sources on the CPU, where their tests find every wrong bit and access
	$(BIN)/python -m pytest tests/ops -k shim

sanitize: $(STAMPS)/extra-test ## build all C++ with ASAN and UBSAN, in a copy, and run the tests of the ops under them
	bash tools/sanitize.sh $(BIN)/python

clean: ## remove what was built and sampled; .venv stays, the next target rebuilds the extension in it
	rm -rf build dist out *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks
	find torchdiff tests -name __pycache__ -prune -exec rm -rf {} +
	find torchdiff -name '*.so' -delete
	rm -f $(STAMPS)/package

# --- set-up, each step once ---

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and \
	  "torchdiff needs Python >= 3.10, $(PYTHON) is %d.%d; name another: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# One line, `torch-2.13.0.dist-info ext=`. Looked at on every run, written only when it changes, so that another torch, or
# turning the extension on or off, rebuilds the package and nothing else does.
$(STAMPS)/torch: FORCE | $(BIN)/python
	@mkdir -p $(STAMPS)
	@torch() { cd $(VENV)/lib/python*/site-packages && echo torch-*.dist-info; }; \
	if [[ ! $$(torch) =~ torch-[0-9] || -n "$(TORCH)" && "$(TORCH)" != "$$(cat $(STAMPS)/wanted 2>/dev/null)" \
	      || -n "$(TORCH)" && "$$(torch)" != "$$(cut -d' ' -f1 $@ 2>/dev/null)" ]]; then \
	  echo "installing $(or $(TORCH),torch)"; \
	  $(PIP) "$(or $(TORCH),torch)" && echo "$(TORCH)" > $(STAMPS)/wanted || exit 1; \
	fi; \
	now="$$(torch) no_ext=$(TORCHDIFF_NO_EXT)"; \
	[[ "$$now" == "$$(cat $@ 2>/dev/null)" ]] || echo "$$now" > $@

# --no-build-isolation: the extension is built against the torch that will load it, not against a second copy
$(STAMPS)/package: $(STAMPS)/torch pyproject.toml $(wildcard setup.py) $(NATIVE)
	@echo "building torchdiff"
	@$(PIP) "setuptools>=77" "pybind11>=2.13" ninja
	@$(PIP) --no-build-isolation --editable .
	@touch $@

# the package is there already, so this adds what the extra names and builds nothing
$(STAMPS)/extra-%: $(STAMPS)/package
	@echo "installing what [$*] needs"
	@$(PIP) "torchdiff-sde[$*]"
	@touch $@
