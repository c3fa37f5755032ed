# Everything runs in .venv. Any target creates it if it is missing, broken, or older than pyproject.toml or
# constraints.txt. Works with GNU make 3.81 (the version on macOS) and later.

PYTHON    ?= python3
PIP_FLAGS ?= --quiet
DATA      ?= zh-plus/tiny-imagenet
ARGS      :=

PY      := .venv/bin/python
READY   := .venv/.ready
JUPYTER := .venv/.jupyter

# Each worker (pytest-xdist) takes a core and 1 to 2 GB. ARGS=-n0 runs the tests one after the other, for a debugger.
WORKERS := -n logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help setup demo demo-real photos play compare full test test-fast test-gpu mutants lessons lab site bench ablate ablate-recipe lab-samplers imagenet own-pictures results lint format \
	clean distclean FORCE

help: ## show this list
	@echo "minimaskgit: 'make demo' trains a MaskGIT and draws samples; 'make test' runs the tests."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make lesson-3, lab-3, check-3: run lesson 3, open it in JupyterLab, check your answers to its exercises"
	@echo "  make assignment-3 VARIANTS=7: the exercises with variants that the number draws, to hand out to a class"
	@echo "  make grade-3 SUBMISSIONS=dir: grade a class's answers to its exercises (lessons/grading.md)"
	@echo
	@echo "Pass options with ARGS, for example: make demo ARGS=--help"

setup: $(READY) ## create or update .venv (targets that need it do this automatically)

demo: $(READY) ## train on drawn glyphs, generate, compare; estimates the time first; results in runs/demo
	@$(PY) -m minimaskgit.demo --out runs/demo $(ARGS)

demo-real: $(READY) ## the same on real images (DATA=hub id or folder); results in runs/demo-real
	@$(PY) -m minimaskgit.demo --preset demo-real --data "$(DATA)" --out runs/demo-real $(ARGS)

photos: $(READY) ## train on twelve classes of photographs, hours in stages that resume; results in runs/photos
	@$(PY) -m minimaskgit.train --preset photos --data "$(DATA)" --out runs/photos $(if $(wildcard \
	runs/photos/config.json),--resume) $(ARGS)
	@test ! -e runs/photos/autoregressive/model.safetensors || $(PY) -m minimaskgit.compare --run runs/photos

play: $(READY) ## decode, edit and look inside in your browser: one HTML file, in runs/playground.html
	@$(PY) -m minimaskgit.playground --out runs/playground.html --open $(ARGS)

compare: $(READY) ## compare MaskGIT with its twin, a GAN and a diffusion model on glyphs; results in runs/demo
	@$(PY) -m minimaskgit.compare --run runs/demo --showdown $(ARGS)

test: $(READY) ## run all tests, on as many cores as there are, at most four
	@$(PY) -m pytest $(WORKERS) $(ARGS)

test-fast: $(READY) ## run all tests but the slow ones
	@$(PY) -m pytest $(WORKERS) -m "not slow" $(ARGS)

test-gpu: $(READY) ## run only the tests that need an accelerator
	@$(PY) -m pytest -m gpu $(ARGS)

lesson-%: $(JUPYTER) # run lesson N without a browser; results in runs/lessons
	@$(PY) lessons/run.py $* $(ARGS)

lessons: $(JUPYTER) ## run all lessons and report their time and memory; make lesson-3 runs one
	@$(PY) lessons/run.py $(ARGS)

site: $(JUPYTER) ## make a site of the lessons with search, without executing them; open runs/site/index.html
	@$(PY) lessons/pages.py

lab: $(JUPYTER) ## open the lessons in JupyterLab; make lab-3 opens one
	@$(PY) -m jupyterlab --notebook-dir=lessons $(ARGS)

lab-%: $(JUPYTER) # open lesson N in JupyterLab
	@cd lessons && test -e $*_*.ipynb || { echo "error: no lesson $*; choose from $$(ls *_*.ipynb | tr '\n' ' ')" >&2; exit 2; }
	@cd lessons && ../$(PY) -m jupyterlab --notebook-dir=. $*_*.ipynb $(ARGS)

grade-%: $(READY) # grade SUBMISSIONS=dir by the laws of lesson N: prints a table; CSV and feedback in runs/grades
	@test -n "$(SUBMISSIONS)" || { echo "error: no submissions given; use make grade-$* SUBMISSIONS=folder" >&2; exit 2; }
	@$(PY) -m minimaskgit.grade "$(SUBMISSIONS)" --lesson $* $(if $(VARIANTS),--variants $(VARIANTS)) --csv runs/grades/lesson_$*.csv \
	    --feedback runs/grades/lesson_$*_feedback $(ARGS)

mutants: $(READY) ## check that the laws catch mistakes in answers (ARGS="--lesson 3", --variants) and in the decoders (ARGS=--decoders)
	@$(PY) tests/mutants.py $(ARGS)

assignment-%: $(READY) # lesson N's exercises with variants drawn by VARIANTS=number, to hand out; in runs/assignments
	@test -n "$(VARIANTS)" || { echo "error: no number given; use make assignment-$* VARIANTS=7" >&2; exit 2; }
	@$(PY) -m minimaskgit.assignment --lesson $* --variants $(VARIANTS) $(ARGS)

check-%: $(READY) # check lessons/exercises/lesson_N.py, or FILE=file, against the laws of lesson N
	@test -e lessons/exercises/lesson_$*.py \
	|| { echo "error: no exercises $*; choose from $$(cd lessons/exercises && ls lesson_*.py | tr '\n' ' ')" >&2; exit 2; }
	@$(PY) -m pytest tests/laws/test_lesson_$*.py $(wildcard tests/laws/test_variants_$*.py) \
	    --submission "$(or $(FILE),lessons/exercises/lesson_$*.py)" --timeout 60 $(ARGS)

lab-samplers: $(READY) ## plot quality against passes for every decoder of runs/demo; results in runs/demo/passes
	@$(PY) -m minimaskgit.passes --run runs/demo $(ARGS)

ablate-recipe: $(READY) ## compare changes of the demo's training (hours; ARGS="--variants rope"); results in runs/recipe
	@$(PY) -m minimaskgit.recipe $(ARGS)

imagenet: $(READY) ## say where the authors' ImageNet weights are; ARGS=--download fetches them; results in runs/imagenet256
	@$(PY) -m minimaskgit.imagenet $(ARGS)

own-pictures: $(READY) ## measure training on 100 to 10,000 pictures (DATA=hub id or folder; hours); results in runs/own-pictures
	@$(PY) tests/own_pictures.py --data "$(DATA)" $(ARGS)

bench: $(READY) ## measure decoding and training speed; results in runs/bench/MACHINE.json
	@$(PY) -m minimaskgit.bench $(ARGS)

full: $(READY) ## train, compare and export on Tiny ImageNet with one GPU (DATA=hub id or folder)
	@$(PY) -m minimaskgit.train --preset tiny-imagenet --data "$(DATA)" --out runs/tiny-imagenet $(if $(wildcard \
	runs/tiny-imagenet/config.json),--resume) $(ARGS)
	@test ! -e runs/tiny-imagenet/autoregressive/model.safetensors || $(PY) -m minimaskgit.compare --run runs/tiny-imagenet
	@if test -e runs/tiny-imagenet/exported; then echo "runs/tiny-imagenet/exported: kept; remove it to export anew"; \
	elif test -e runs/tiny-imagenet/autoregressive/model.safetensors; then \
	$(PY) -m minimaskgit.export --run runs/tiny-imagenet --out runs/tiny-imagenet/exported; fi

ablate: $(READY) ## compare the mask schedules on runs/demo (table 3); ARGS=--quick for a short version
	@$(PY) -m minimaskgit.ablate --run runs/demo $(ARGS)

results: $(READY) ## copy what the commands measured here, all but photos and strays, to data/results and the documents
	@$(PY) tests/test_readme.py --keep

lint: $(READY) ## check style and layout with ruff
	@$(PY) -m ruff check .
	@$(PY) -m ruff check --preview --select PLW1514 . # text files need an explicit encoding: Windows' default has no γ
	@$(PY) -m ruff format --check .

format: $(READY) ## fix style and layout with ruff
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean: ## remove caches and build files; keeps .venv and runs
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage htmlcov lessons/playground-*.html
	@find . \( -path ./.venv -o -path ./.git -o -path ./runs -o -path ./shared \) -prune -o \
	    -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean ## also remove .venv; never deletes runs, your results
	@rm -rf .venv

# The stamp file gets the time at which the set-up started, so an edit made during the set-up still counts as newer.
# It is removed while the set-up runs, so a failed or interrupted set-up is repeated.
# A copied or renamed clone has the packages of the old one, and PYTHON=... may ask for another Python.
SAME := import os, minimaskgit as m; assert os.path.samefile(os.path.dirname(m.__file__), "minimaskgit")
SUITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))
VERSION := import sys; print(sys.version_info[:2])
BROKEN := $(shell test ! -e $(READY) || $(PY) -I -c '$(SAME)' 2>/dev/null || echo FORCE)
ifneq ($(filter command,$(firstword $(origin PYTHON))),)
OTHER := $(shell test ! -e $(PY) || \
    test "$$($(PY) -c '$(VERSION)' 2>/dev/null)" = "$$($(PYTHON) -c '$(VERSION)' 2>/dev/null)" || echo FORCE)
endif
KEEP := $(if $(OTHER),false,$(PY) -c 'import pip; $(SUITS)')

$(READY): pyproject.toml constraints.txt $(BROKEN) $(OTHER)
	@rm -f $(READY)
	@$(KEEP) 2>/dev/null || $(PYTHON) -c '$(SUITS)' 2>/dev/null \
	|| { echo "minimaskgit needs Python 3.11 to 3.14, but '$(PYTHON)' is" \
	          "$$($(PYTHON) --version 2>/dev/null || echo not Python). Choose one: make setup PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv: pip installs PyTorch and the rest (make setup PIP_FLAGS= shows its progress)."
	@$(KEEP) 2>/dev/null || $(PYTHON) -m venv --clear .venv
	@touch .venv/.started
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev]"
	@mv .venv/.started $(READY)
	@echo "Done: .venv is ready."

# JupyterLab and the lessons' other requirements are installed only when needed, with a separate stamp file.
$(JUPYTER): $(READY)
	@echo "Setting up the lessons: pip installs JupyterLab."
	@$(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ".[dev,lessons]"
	@touch $(JUPYTER)
