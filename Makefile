# The README's commands. Each makes the environment it needs: all that has to be there is Python 3.11, 3.12 or 3.13, and make.
# For another Python or another line of TensorFlow, in an environment of its own:
#   make test VENV=.venv313 PYTHON=python3.13
#   make test VENV=.venv-tf2.21 CONSTRAINTS=constraints-tf2.21.txt

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
# The first Python that starts and has a supported version.
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
    $$name -c '$(SUPPORTED)' 2>/dev/null && echo $$name && break; done)
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
RUN := runs/demo

.PHONY: demo test test-slow lint docs bench clean

# Train, measure, export, serve, ask over gRPC and REST, stop.
demo: $(INSTALLED)
	rm -rf $(RUN)
	$(BIN)/vl-keras train configs/captioning/shapes.yaml --run-dir $(RUN)
	$(BIN)/vl-keras evaluate $(RUN) --split test
	$(BIN)/vl-export savedmodel $(RUN) --out $(RUN)/models/captioner
	$(BIN)/python -c "from vl_keras.data.builders.shapes_scene import draw_scene, sample_scene; \
	    draw_scene(sample_scene('demo', 96, 96)).save('$(RUN)/scene.jpg')"
	@$(BIN)/vl-export serve --port=18500 --rest_api_port=18501 --model_name=captioner \
	    --model_base_path=$(abspath $(RUN)/models/captioner) & server=$$!; \
	trap 'kill $$server; wait $$server' EXIT; \
	$(BIN)/vl-export request grpc://localhost:18500 --wait 120 --image $(RUN)/scene.jpg && \
	$(BIN)/vl-export request http://localhost:18501 --image $(RUN)/scene.jpg

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/decoding.py
	$(BIN)/python benchmarks/contrastive.py

# The site, in site/, from files of this folder alone; a broken link is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(INSTALLED): setup.py constraints-common.txt $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11, 3.12 or 3.13 was found; give one: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
