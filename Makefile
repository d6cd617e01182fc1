# Everything runs from here; each target sets up what it needs. `make` prints the list.

PYTHON ?= python3
DATA ?= data
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all readers chaos check format bench notebooks tiny-bundle tiny-model clean

help:  ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "DVSE needs Python 3.11 or later; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing DVSE into $(VENV): about 6 GB, a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "installing what tests, training and benchmarks need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,faiss,serve,captions,test]'
	@touch $@

$(VENV)/.source: $(VENV)/.test tests/transformers_source.sh
	@sh tests/transformers_source.sh $(BIN)/python $(VENV)/source
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

install: $(VENV)/.base  ## create .venv and install DVSE

demo: $(VENV)/.base  ## tokenise and caption sample files, write demo/report.html
	@$(BIN)/python -m pipelines.tiny.samples demo/samples > /dev/null
	@$(BIN)/dvse tokenize demo/samples --output demo/tokens --overwrite
	@$(BIN)/dvse inspect demo/tokens --html demo/report.html
	@echo "open demo/report.html to see the tokens"
	@$(BIN)/dvse caption $(addprefix demo/samples/,cat.png ship.png truck.png seven.flac \
		three-one-four.flac house.png flower.jpg tones.flac)

test: $(VENV)/.test  ## run the tests (CPU, offline), two files at a time
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations 25

test-all: $(VENV)/.source  ## run the slow tests too
	@$(BIN)/python -m pytest -q -m "not gpu and not network"

readers: $(VENV)/.test  ## install libraries that tests compare with, an environment each; test-all then does
	@while read -r name package; do \
	  sh tests/environment.sh $(BIN)/python $(VENV)/readers/$$name $(PYTHON) $$package || exit 1; \
	done < tests/pipelines/export/readers/environments.txt
	@while read -r name python packages; do \
	  test "$$python" != - || python=$(PYTHON); \
	  sh tests/environment.sh $(BIN)/python $(VENV)/readers/$$name $$python $$packages || exit 1; \
	done < tests/environments.txt

chaos: $(VENV)/.test  ## kill, corrupt and starve the batch job
	@$(BIN)/python -m pytest -q tests/chaos -m "not gpu and not network"

check: $(VENV)/.test  ## lint, format, types, layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(VENV)/.test  ## fix what ruff can fix
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: $(VENV)/.bench  ## measure; ONLY=name for one, result in bench.json
	@$(BIN)/python tests/bench --output bench.json $(if $(ONLY),--only $(ONLY))

notebooks: $(VENV)/.test  ## run the notebooks
	@for notebook in notebooks/*.ipynb; do echo "$$notebook"; $(BIN)/jupyter execute "$$notebook" || exit 1; done

tiny-bundle: $(VENV)/.test  ## train the shipped tokenizer again (hours); DATA=folder with the data
	@$(BIN)/python -m pipelines.tiny.bundle --data $(DATA) --output runs/tiny

tiny-model: $(VENV)/.test  ## train the shipped decoder again (hours); DATA=folder with the data
	@$(BIN)/python -m pipelines.tiny --data $(DATA) --output runs/tiny-model

clean:  ## remove what the targets made, .venv excepted
	rm -rf demo build dist bench.json .pytest_cache .ruff_cache .mypy_cache
