# Everything happens in .venv, which any target makes when it is missing, broken or older than its description.
# Works with GNU make 3.81 (the one on macOS) and later.

PYTHON    ?= python3
PIP_FLAGS ?= --quiet
DATA      ?= zh-plus/tiny-imagenet
ARGS      :=

PY      := .venv/bin/python
READY   := .venv/.ready
JUPYTER := .venv/.jupyter

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup demo demo-real compare full test test-fast test-gpu mutants lessons lab bench ablate results lint format \
	clean distclean FORCE

help: ## this list
	@echo "minimaskgit: 'make demo' trains a MaskGIT and shows its pictures, 'make test' checks it."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make lesson-3, lab-3, check-3: run lesson 3, open it in JupyterLab, judge your answers to its exercises"
	@echo "  make grade-3 SUBMISSIONS=dir: grade a class's answers to it (lessons/grading.md)"
	@echo
	@echo "Options go through ARGS, as in: make demo ARGS=--help"

setup: $(READY) ## make or refresh .venv (targets that need it do this by themselves)

demo: $(READY) ## train on drawn glyphs, generate, compare; says how long it takes here; results in runs/demo
	@$(PY) -m minimaskgit.demo --out runs/demo $(ARGS)

demo-real: $(READY) ## the same on real images (DATA=hub id or folder), results in runs/demo-real
	@$(PY) -m minimaskgit.demo --preset demo-real --data "$(DATA)" --out runs/demo-real $(ARGS)

compare: $(READY) ## MaskGIT against its twin, a GAN and a diffusion model on glyphs, results in runs/demo
	@$(PY) -m minimaskgit.compare --run runs/demo --showdown $(ARGS)

test: $(READY) ## all tests
	@$(PY) -m pytest $(ARGS)

test-fast: $(READY) ## all but the slow tests
	@$(PY) -m pytest -m "not slow" $(ARGS)

test-gpu: $(READY) ## only the tests that want an accelerator
	@$(PY) -m pytest -m gpu $(ARGS)

lesson-%: $(JUPYTER) # run lesson N without a browser, into runs/lessons
	@$(PY) lessons/run.py $* $(ARGS)

lessons: $(JUPYTER) ## run all lessons, with their seconds and memory; make lesson-3 runs one
	@$(PY) lessons/run.py $(ARGS)

lab: $(JUPYTER) ## open the lessons in JupyterLab; make lab-3 opens one
	@$(PY) -m jupyterlab --notebook-dir=lessons $(ARGS)

lab-%: $(JUPYTER) # open lesson N in JupyterLab
	@cd lessons && test -e $*_*.ipynb || { echo "error: no lesson $*; there are: $$(ls *_*.ipynb | tr '\n' ' ')" >&2; exit 2; }
	@cd lessons && ../$(PY) -m jupyterlab --notebook-dir=. $*_*.ipynb $(ARGS)

grade-%: $(READY) # grade SUBMISSIONS=dir by the laws of lesson N: a table, and CSV and feedback in runs/grades
	@test -n "$(SUBMISSIONS)" || { echo "error: say whose: make grade-$* SUBMISSIONS=folder" >&2; exit 2; }
	@$(PY) -m minimaskgit.grade "$(SUBMISSIONS)" --lesson $* --csv runs/grades/lesson_$*.csv \
	    --feedback runs/grades/lesson_$*_feedback $(ARGS)

mutants: $(READY) ## put mistakes into the teachable functions: do the laws find them? (ARGS="--lesson 3")
	@$(PY) tests/mutants.py $(ARGS)

check-%: $(READY) # judge lessons/exercises/lesson_N.py by the laws of lesson N
	@test -e lessons/exercises/lesson_$*.py \
	|| { echo "error: no exercises $*; there are: $$(cd lessons/exercises && ls lesson_*.py | tr '\n' ' ')" >&2; exit 2; }
	@$(PY) -m pytest tests/laws/test_lesson_$*.py --submission lessons/exercises/lesson_$*.py --timeout 60 $(ARGS)

bench: $(READY) ## measure decoding and training speed, into runs/bench/MACHINE.json
	@$(PY) -m minimaskgit.bench $(ARGS)

full: $(READY) ## Tiny ImageNet on one GPU: train, compare, export (DATA=hub id or folder)
	@$(PY) -m minimaskgit.train --preset tiny-imagenet --data "$(DATA)" --out runs/tiny-imagenet $(if $(wildcard \
	runs/tiny-imagenet/config.json),--resume) $(ARGS)
	@$(PY) -m minimaskgit.compare --run runs/tiny-imagenet
	@$(PY) -m minimaskgit.export --run runs/tiny-imagenet --out runs/tiny-imagenet/exported

ablate: $(READY) ## compare the mask schedules on runs/demo (table 3); ARGS=--quick is a short version
	@$(PY) -m minimaskgit.ablate --run runs/demo $(ARGS)

results: $(READY) ## keep what demo, compare, ablate --quick, bench and lessons measured here in data/results and the documents
	@$(PY) tests/test_readme.py --keep

lint: $(READY) ## check style and layout with ruff
	@$(PY) -m ruff check .
	@$(PY) -m ruff check --preview --select PLW1514 . # text files name their encoding: that of Windows has no γ
	@$(PY) -m ruff format --check .

format: $(READY) ## mend what ruff can mend
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean: ## remove caches and build leftovers; .venv and runs stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	@find . \( -name .venv -o -name .git -o -name runs -o -name shared \) -prune -o \
	    -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean ## remove .venv too; runs, your results, are never deleted
	@rm -rf .venv

# The stamp. It takes its date from the start of the set-up, so an edit made meanwhile still counts as newer, and
# it is gone while the set-up runs, so a failed or interrupted one is done again.
BROKEN := $(shell test ! -e $(READY) || $(PY) -S -c "" 2>/dev/null || echo FORCE)

$(READY): pyproject.toml constraints.txt $(BROKEN)
	@rm -f $(READY)
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	|| { echo "minimaskgit needs Python 3.11 or newer, and '$(PYTHON)' is" \
	          "$$($(PYTHON) --version 2>/dev/null || echo not one). Name yours: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv: pip fetches PyTorch and the rest (make setup PIP_FLAGS= shows its progress)."
	@$(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@touch .venv/.started
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@mv .venv/.started $(READY)
	@echo "Done: .venv is ready."

# JupyterLab and the rest of what the lessons need, for those who want them, with a stamp of their own.
$(JUPYTER): $(READY)
	@echo "Setting up the lessons: pip fetches JupyterLab."
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev,lessons]"
	@touch $(JUPYTER)
