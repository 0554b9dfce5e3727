PYTHON ?= python3
DATA ?= data
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
BARE ?= python3.12
TYPESCRIPT := 5.9.3
PAGE := workflow/scripts/ftft/display/templates/page
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast coverage test-slurm test-bare lint lint-page install lock bench bench-gpu dag clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(INSTALLED) ## run the embedded default experiment to its HTML page
	$(BIN)/snakemake --cores $(CORES)
	@echo "Open in a browser: $$(ls -t results/*/report.html | head -n 1)"

test: $(INSTALLED) ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(INSTALLED) ## run the tests that need no model, no browser and no other process
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

coverage: $(INSTALLED) ## run the tests and say which lines of the library none reaches (some of them: TESTS=tests/test_data.py)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered $(TESTS)

test-slurm: $(INSTALLED) ## run the workflow on a SLURM started for it (needs slurm-wlm, munge and root)
	$(BIN)/python -m pytest tests/slurm

lint: $(INSTALLED) lint-page ## check style, types and the workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile rules
	$(BIN)/mypy
	$(BIN)/snakemake --lint

# TypeScript's checker is the one tool that pip does not have. It goes into .venv too.
lint-page: $(INSTALLED) ## check the types of the page's script (needs Node.js with npm)
	@if ! { command -v node && command -v npm; } > /dev/null; then \
	  echo "skipped: the types of the page's script; checking them needs Node.js with npm, which are not here"; \
	elif ! [ "$$($(BIN)/tsc --version 2>&1)" = "Version $(TYPESCRIPT)" ] && \
	  ! npm install --global --prefix .venv --loglevel=error --no-audit --no-fund typescript@$(TYPESCRIPT); then \
	  echo "skipped: the types of the page's script; npm could not install TypeScript, as it says above"; \
	else \
	  echo $(BIN)/tsc --project $(PAGE); \
	  $(BIN)/tsc --project $(PAGE); \
	fi

install: $(INSTALLED) ## install everything into .venv

# torch comes first and with its dependencies, because those differ between CPU and GPU machines. All others are in the
# lock, so nothing is left to resolve.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or later is needed: make PYTHON=python3.11 ..." >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint requirements.lock torch
	$(BIN)/pip install --quiet --no-deps --requirement requirements.lock
	@touch $@

lock: ## bring requirements.lock and envs/ up to date with requirements.in
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	grep -v '^gt-' requirements.in | .venv/lock/bin/pip install --quiet --upgrade --requirement /dev/stdin
	grep '^gt-' requirements.in | .venv/lock/bin/pip install --quiet --no-deps --requirement /dev/stdin
	sed '/^[^#]/d' requirements.lock > .venv/lock/new
	.venv/lock/bin/pip freeze --all | grep -Ev '^(pip|wheel|triton|nvidia-.*|cuda-.*)==' | sed 's/+.*//' | \
	  LC_ALL=C sort -f >> .venv/lock/new
	mv .venv/lock/new requirements.lock
	sed -n 's|^\(.*==\)\(.*\)|s/^\\( *- \1\\).*/\\1\2/|p' requirements.lock > .venv/lock/pins.sed
	for env in envs/*.yaml; do sed -f .venv/lock/pins.sed $$env > .venv/lock/env && cat .venv/lock/env > $$env; done
	rm -rf .venv/lock

bench: $(INSTALLED) ## measure speed and memory: other loops, a step's parts, a full run (an hour; needs the corpora: DATA=FOLDER)
	$(BIN)/python benchmarks/training_speed.py --data $(DATA)
	$(BIN)/python benchmarks/where_time_goes.py --data $(DATA)
	$(BIN)/python benchmarks/full_run.py --data $(DATA)
	$(BIN)/python benchmarks/memory.py --data $(DATA)
	$(BIN)/python benchmarks/memory.py --data $(DATA) --forecast
	$(BIN)/python benchmarks/planning.py
	$(BIN)/python benchmarks/report_size.py
	$(BIN)/python benchmarks/heads.py planted

bench-gpu: $(INSTALLED) ## measure a GPU: whether training on it is right, how fast it is (eight minutes; needs the corpora: DATA=FOLDER)
	$(BIN)/python benchmarks/gpu.py --data $(DATA)

test-bare: $(INSTALLED) ## run the packed GPU benchmark in short with Python 3.12 and older libraries (5 GB; needs the corpora: DATA=FOLDER)
	$(BIN)/python benchmarks/pack.py --data $(DATA) --out results/gpu-pack
	$(BARE) -m venv results/bare
	results/bare/bin/pip install --quiet torch==2.13.0 transformers==5.17.0 accelerate peft pandas pyarrow
	PATH="$$PWD/results/bare/bin:$$PATH" bash results/gpu-pack/run.sh --smoke

dag: $(INSTALLED) ## draw the rules and jobs of the demo and of the paper's NLI experiment into docs/images (needs graphviz)
	$(BIN)/snakemake --rulegraph --forceall | dot -Tsvg > docs/images/demo-rulegraph.svg
	$(BIN)/snakemake --dag --forceall | dot -Grankdir=LR -Tsvg > docs/images/demo-dag.svg
	$(BIN)/snakemake --rulegraph --forceall --configfile config/paper/nli.yaml | dot -Tsvg > docs/images/nli-rulegraph.svg
	$(BIN)/snakemake --dag --forceall --configfile config/paper/nli.yaml --config seeds=0 | dot -Grankdir=LR -Tsvg > docs/images/nli-dag.svg

clean: ## delete results, logs and caches, but not .venv
	rm -rf results logs .snakemake .coverage* .pytest_cache .ruff_cache .mypy_cache
