# The README's commands. Each makes the environment it needs; nothing but Python 3.11 (or 3.12) and make has to be there.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name) 2>/dev/null)))
BIN := .venv/bin
INSTALLED := .venv/installed
RUN := runs/demo

.PHONY: demo test test-slow lint bench clean

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

$(INSTALLED): setup.py constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
