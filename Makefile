# The README's commands. Each makes the environment it needs; nothing but Python 3.11 (or 3.12) and make has to be there.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
INSTALLED := .venv/installed
RUN := runs/demo

.PHONY: demo test test-slow lint bench clean

demo: $(INSTALLED)
	rm -rf $(RUN)
	$(BIN)/vl-keras train configs/captioning/shapes.yaml --run-dir $(RUN)
	$(BIN)/vl-keras evaluate $(RUN) --split test

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: $(INSTALLED)
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/decoding.py

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
