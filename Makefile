# `make demo` and `make test` do all of their own set-up, inside .venv and the cache folder.
# Needed beforehand: make, Python >= 3.11 with venv, and a network to a Python package registry.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
CACHE  := $(or $(MICRODOSE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/microdose)
LPIPS  := $(CACHE)/lpips_alexnet_v0.1.safetensors
DISTS  := $(CACHE)/dists_vgg16.safetensors
STAMP  := $(VENV)/.installed
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)

.PHONY: demo test set-up lint format clean
.DELETE_ON_ERROR:

demo: set-up
	$(BIN)/python examples/demo.py --output demo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: set-up
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: set-up
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

set-up: $(STAMP) $(LPIPS) $(DISTS)

# compressai has ready-made wheels for Python 3.11 and 3.12; a newer Python has to compile it.
$(BIN)/python:
	@for range in '(3, 11) <= v < (3, 13)' '(3, 11) <= v'; do \
		for python in $(or $(PYTHON),python3 python3.12 python3.11); do \
			$$python -c "import sys, venv, ensurepip; v = sys.version_info; sys.exit(not ($$range))" 2>/dev/null \
			&& exec $$python -m venv $(VENV); \
		done; \
	done; \
	echo "no Python >= 3.11 with venv found: install one, or run make with PYTHON=/path/to/it" >&2; exit 1

# Without a GPU, Linux wants the CPU build of torch: pip prefers a "+cpu" file to the registry's CUDA build.
# Where that build cannot be had, the registry's is taken.
$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@mkdir -p $(VENV)/wheels
	@if [ "$$(uname -s)" = Linux ] && ! [ -e /dev/nvidiactl ]; then \
		echo "no GPU here: looking for the CPU build of torch $(TORCH)"; \
		$(PIP) --quiet --timeout 5 --retries 0 download --no-deps --dest $(VENV)/wheels \
			--index-url https://download.pytorch.org/whl/cpu "torch==$(TORCH)+cpu" \
		|| echo "no CPU build found; taking the registry's torch"; fi
	@echo "installing into $(VENV): a few minutes the first time"
	@$(PIP) install --quiet --find-links $(VENV)/wheels --constraint constraints.txt --editable '.[server,dev]'
	@touch $@

$(LPIPS): | $(STAMP)
	$(BIN)/python -m microdose_server.training.lpips_weights

$(DISTS): | $(STAMP)
	$(BIN)/python -m microdose_server.evaluate.dists_weights

clean:
	rm -rf $(VENV) demo dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
