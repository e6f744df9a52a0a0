# `make book` builds the book, `make test` checks everything; `make help` lists the rest.
# Each command makes its own environment in .venv when it is missing or out of date.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?=
PORT ?= 8000
ARGS ?=

PY := .venv/bin/python
VENV := .venv/.complete
BENCH := .venv/.bench
# The chapters, half of the time, first.
SIDE_BY_SIDE := --numprocesses 2 --dist loadfile --no-loadscope-reorder

export PYTHON PORT
export KERAS_BACKEND := tensorflow
export TF_CPP_MIN_LOG_LEVEL := 3
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A .venv that was moved, or whose interpreter is gone, is built anew whatever its date.
ifneq ($(shell head -n 1 $(VENV) 2>/dev/null && $(PY) -c 'print("runs")' 2>/dev/null),$(CURDIR) runs)
$(VENV): rebuild
endif

$(VENV): constraints.txt pyproject.toml src/eamlab_book/pyproject.toml scripts/setup_venv.sh scripts/setup_jupyter.py
	@scripts/setup_venv.sh test dev

$(BENCH): $(VENV)
	@scripts/setup_venv.sh test dev bench
	@touch $@

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: book
book: $(VENV) ## execute every chapter, render the book, say where to open it
	@$(PY) scripts/build_book.py $(ARGS)

.PHONY: pages
pages: $(VENV) ## open every rendered page in Chromium: what is wrong with it
	@$(PY) scripts/check_pages.py $(ARGS)

.PHONY: serve
serve: $(VENV) ## serve the rendered book on this machine (PORT=8000)
	@test -f _build/html/index.html || { echo "There is no rendered book yet: run \`make book\` first."; exit 1; }
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html $(PORT)

.PHONY: lab
lab: $(VENV) ## open the chapters in JupyterLab
	$(PY) -m jupyter lab --notebook-dir=book $(ARGS)

.PHONY: test
test: $(VENV) ## all tests that take seconds, and every chapter
	$(PY) -m pytest $(SIDE_BY_SIDE) $(ARGS)

.PHONY: test-unit
test-unit: $(VENV) ## the fast tests without the chapters and the browser
	$(PY) -m pytest -m "not slow and not book and not browser" $(ARGS)

.PHONY: test-all
test-all: $(VENV) ## every test, the slow statistical ones included
	$(PY) -m pytest $(SIDE_BY_SIDE) -m "" $(ARGS)

.PHONY: lint
lint: $(VENV) ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

.PHONY: format
format: $(VENV) ## put the code into the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: bench
bench: $(BENCH) ## measure speed and quality side by side; a table and a JSON file
	$(PY) scripts/bench.py $(ARGS)

.PHONY: results
results: $(VENV) ## make what is stale: weights and all that depends on them (ARGS=--dry-run lists it)
	@$(PY) -m eamlab_book.results $(ARGS)

.PHONY: lock
lock: $(BENCH) ## write the installed versions into constraints.txt and environment.yml
	$(PY) scripts/lock.py

.PHONY: clean
clean: ## remove what the commands made, but not .venv
	rm -rf _build build dist bench-out .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## remove .venv too
	rm -rf .venv

.PHONY: rebuild

.PHONY: audit
audit: $(BENCH) ## known vulnerabilities of the pinned versions; their licenses in LICENSES.md
	$(PY) scripts/audit.py $(ARGS)

.PHONY: notebooks
notebooks: $(VENV) ## write the notebooks that Binder and Colab open, from the chapters
	$(PY) scripts/make_notebooks.py $(ARGS)

.PHONY: links
links: $(VENV) ## follow every link of the chapters
	@$(PY) scripts/build_book.py --links

.PHONY: binder-check
binder-check: $(VENV) ## run every chapter as a hosted session does: 1 CPU, 2 GB (an hour)
	$(PY) scripts/check_binder.py $(ARGS)

.PHONY: student
student: $(VENV) ## the students' edition, without solutions, in dist/student
	@$(PY) scripts/make_edition.py student $(ARGS)

.PHONY: instructor
instructor: $(VENV) ## the instructors' edition, solutions open, in dist/instructor
	@$(PY) scripts/make_edition.py instructor $(ARGS)

.PHONY: slides
slides: $(VENV) ## the instructor's scenes as slides, one HTML file, in dist
	@$(PY) scripts/make_slides.py $(ARGS)

TEACH := .venv/.teach

$(TEACH): $(VENV)
	@scripts/setup_venv.sh test dev teach
	@touch $@

.PHONY: assignment
assignment: $(TEACH) ## a graded assignment, for students and for the grader, in dist/assignment
	@$(PY) assignments/make_assignment.py $(ARGS)
