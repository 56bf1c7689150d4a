# Every target sets itself up: the environment is .venv, made from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
# Whoever is not root installs as root.
SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: run test test-full test-browser test-kill check format schema bench-dedup bench-training bench-checkpoints \
	simulate-sweeps simulate-thresholds prove-win prove-null lock clean

run: .venv/ready            ## the demo, all phases, to results/demo/
	$(BIN)/snakemake --cores 1 --resources gpu=1

test: .venv/ready           ## the whole suite, the demo end to end once in it
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-full: .venv/ready      ## and what takes longer: every edit of the rebuild table, runs on a pretrained trunk
	$(BIN)/pytest --numprocesses 2 -m "not kill"

test-browser: .venv/ready   ## the report in headless Chromium, which it installs where there is none (Debian)
	command -v chromium || { $(SUDO) apt-get update && $(SUDO) apt-get install --yes chromium fonts-noto-cjk; }
	$(BIN)/pytest -m browser tests/report/test_browser.py

test-kill: .venv/ready      ## kill whole runs two hundred times, and compare each with one left alone
	REDHEART_KILLS=200 $(BIN)/pytest -m kill --capture=no tests/runs/test_kill.py

check: .venv/ready          ## format, lint, types and the millisecond tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow and not full and not kill" --numprocesses 2 --dist loadfile

format: .venv/ready         ## mend format and what the linter can mend by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schema: .venv/ready         ## write the schema of the config and docs/config.md from the options' dataclasses
	$(BIN)/python -m redheart.workflow.schema

bench-dedup: .venv/ready    ## exact deduplication against what else one would use
	$(BIN)/python bench/dedup.py

bench-training: .venv/ready ## legs of training against the trainers people use
	$(BIN)/python bench/training.py

bench-checkpoints: .venv/ready ## saving, stitching and archiving checkpoints of the 730m preset: time, bytes, memory
	$(BIN)/python bench/checkpoints.py

simulate-sweeps: .venv/ready ## the choice of the rate where the best one is known, full grid and halving
	$(BIN)/python bench/simulated_sweeps.py

simulate-thresholds: .venv/ready ## the threshold of a label, fitted on few records and judged on fresh ones
	$(BIN)/python bench/simulated_thresholds.py

prove-win: .venv/ready      ## that the search finds a planted win in real trainings, and claims none where there is none
	$(BIN)/python bench/planted_runs.py

prove-null: .venv/ready      ## choose among equal candidates: how often a gain is claimed all the same
	$(BIN)/python bench/planted_null.py

lock: .venv/ready           ## write what is installed into requirements.lock
	$(BIN)/pip freeze --all --exclude pip --exclude-editable | sed 's/+cpu$$//' > requirements.lock

clean:                      ## forget results, store and environment
	rm -rf results .redheart .snakemake .venv

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@
