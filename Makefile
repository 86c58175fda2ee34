# `make demo` and `make test` do all of their own set-up, inside .venv and the cache folder.
# Needed beforehand: make, Python >= 3.11 with venv, and a network to a Python package registry.
# Part of it, the images of docker/ and two neighbours of ours, needs root on Debian; elsewhere a line says so.

VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
CACHE  := $(or $(MICRODOSE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/microdose)
LPIPS  := $(CACHE)/lpips_alexnet_v0.1.safetensors
DISTS  := $(CACHE)/dists_vgg16.safetensors
STAMP  := $(VENV)/.installed
TORCH  := $(shell sed -n 's/^torch==//p' constraints.txt)


# Other servers of Redis's kind than the one that most tests use, and the tests that tell them apart; `make redis7` runs
# all that need a Redis. In a cluster there is nothing but what viewers read: the queue of jobs needs a server of its own.
REDIS7  := $(addprefix tests/unit/server/,$(addprefix store/test_,apikeys.py bus.py redis.py sequences.py viewers.py) \
	$(addprefix jobs/test_,outcome.py queue.py records.py) api/test_pump.py) \
	$(addprefix tests/integration/test_,api_events.py api_jobs.py api_sequences.py)
CLUSTER := tests/integration/test_conformance.py -k redis

.PHONY: demo test suite redis7 images set-up lint format clean neighbours
.DELETE_ON_ERROR:

demo: set-up
	$(BIN)/python examples/demo.py --output demo

# The images are built beside the tests, which often wait; what came of it is printed when it is done.
test: lint neighbours
	$(MAKE) --no-print-directory --jobs=2 --keep-going suite images

suite: neighbours
	$(BIN)/python -m pytest -n 2 --dist loadfile
	MICRODOSE_TEST_REDIS=redis7 $(BIN)/python -m pytest -n 2 --dist loadfile $(REDIS7)
	MICRODOSE_TEST_REDIS=cluster $(BIN)/python -m pytest -n 2 --dist loadfile $(CLUSTER)

redis7: neighbours
	MICRODOSE_TEST_REDIS=redis7 $(BIN)/python -m pytest -n 2 --dist loadfile

images: set-up
	@$(call debian,buildah mmdebstrap,command -v buildah && command -v mmdebstrap)
	nice docker/verify.sh

# Programs of Debian's that tests start, and only they: a Redis 7, and the nginx of docker-compose.yml.
neighbours: set-up
	@$(call debian,redis-server nginx-light,command -v redis-server && PATH="$$PATH:/usr/sbin" command -v nginx)

# $(call debian,PACKAGES,CHECK): install them as root on Debian unless CHECK finds them; else say what is amiss.
define debian
if { $(2); } >/dev/null 2>&1; then :; \
elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	echo "installing Debian's $(1)"; \
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(1); } \
		>$(VENV)/apt.log 2>&1 || echo "NOT TESTED HERE: $(1) cannot be installed, see $(VENV)/apt.log"; \
else echo "NOT TESTED HERE: what needs $(1); install them (Debian: apt-get install $(1))"; fi
endef

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
