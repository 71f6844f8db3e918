# Everything tersor needs is set up in .venv by pip; nothing has to be installed by hand but Python (3.11 or later) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := -m pip --quiet --disable-pip-version-check
TENSORFLOW := .venv-tensorflow
FLEX := .venv-flex
MEDIAPIPE := .venv-mediapipe
MLTK := .venv-mltk

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit test-tensorflow test-readers docs benchmark constraints clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(TENSORFLOW)/ready: pyproject.toml constraints-tensorflow.txt
	$(PYTHON) -m venv $(TENSORFLOW)
	$(TENSORFLOW)/bin/python $(PIP) install --constraint constraints-tensorflow.txt tensorflow-cpu keras --editable '.[dev]'
	$(TENSORFLOW)/bin/python $(PIP) install --constraint constraints-tensorflow.txt --no-deps tf-keras
	@touch $@

$(FLEX)/ready: constraints-flex.txt
	$(PYTHON) -m venv $(FLEX)
	$(FLEX)/bin/python $(PIP) install --constraint constraints-flex.txt tensorflow-cpu
	@touch $@

$(MEDIAPIPE)/ready: constraints-mediapipe.txt
	$(PYTHON) -m venv $(MEDIAPIPE)
	$(MEDIAPIPE)/bin/python $(PIP) install --constraint constraints-mediapipe.txt mediapipe
	@touch $@

$(MLTK)/ready: constraints-mltk.txt
	$(PYTHON) -m venv $(MLTK)
	$(MLTK)/bin/python $(PIP) install --constraint constraints-mltk.txt silabs-mltk
	@touch $@

demo: $(VENV)/ready ## make every flavour of the embedded sample and print what each costs
	$(BIN)/tersor quantize demo/fashion_mnist.keras --as all --latency --rescale 1/255 \
	    --data demo/fashion_mnist_calibration.npz --samples 200 --eval-data demo/fashion_mnist.npz --output out/demo

test: lint unit ## check style, types, import rules and run all tests

lint: $(VENV)/ready ## check style, types and import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/ready ## run the tests
	$(BIN)/pytest -n auto

test-tensorflow: $(TENSORFLOW)/ready $(FLEX)/ready ## run the tests that need TensorFlow or Keras, in an environment of their own
	$(TENSORFLOW)/bin/pytest -n auto tests/test_saved_model.py tests/test_keras_entry.py
	$(TENSORFLOW)/bin/pytest -n auto tests/test_training.py tests/test_train_command.py tests/test_pruning.py \
	    tests/test_low_bit.py tests/test_distill.py "tests/test_examples.py::test_notebook_runs[training]" \
	    "tests/test_machine.py::test_every_command_prints_one_json_document[train]"
	$(TENSORFLOW)/bin/pytest -n auto tests/test_docs.py -k "keras.md or saved_model.md or data.md or train.md or prune.md or low_bit.md"
	TERSOR_TENSORFLOW_PYTHON=$(CURDIR)/$(FLEX)/bin/python $(TENSORFLOW)/bin/pytest tests/test_tensorflow_ops.py

test-readers: $(VENV)/ready $(MEDIAPIPE)/ready $(MLTK)/ready ## have MediaPipe and MLTK read what we write (Python 3.9 to 3.12)
	TERSOR_MEDIAPIPE_PYTHON=$(CURDIR)/$(MEDIAPIPE)/bin/python TERSOR_MLTK_PYTHON=$(CURDIR)/$(MLTK)/bin/python \
	    $(BIN)/pytest tests/test_mediapipe.py tests/test_params.py

docs: $(VENV)/ready ## write what the reference says of commands and plugins, and the output that pages show
	$(BIN)/python docs/generate.py
	TERSOR_WRITE_DOCS=1 $(BIN)/pytest -q -n auto tests/test_docs.py

benchmark: $(VENV)/ready ## measure tersor beside its peers (in environments of their own) and rewrite docs and README
	$(BIN)/python benchmarks/peers.py --work out/peers
	$(BIN)/python benchmarks/keras_files.py --work out/peers
	$(BIN)/python benchmarks/zoo.py --work out/peers
	$(BIN)/python benchmarks/pypi_models.py fetch --to out/models
	$(BIN)/python benchmarks/pypi_models.py list --to out/models
	$(BIN)/python benchmarks/real_models.py out/models
	$(BIN)/python benchmarks/readme.py

constraints: ## write the versions installed now to constraints.txt
	@{ echo '# Exact versions that continuous integration installs. Regenerate with: make constraints'; \
	   $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt
	@{ echo '# The same for the tests that need TensorFlow or Keras.'; \
	   $(TENSORFLOW)/bin/python -m pip freeze --exclude-editable; } > constraints-tensorflow.txt
	@{ echo '# The last TensorFlow whose interpreter runs TensorFlow operators, for the tests of these.'; \
	   $(FLEX)/bin/python -m pip freeze; } > constraints-flex.txt
	@{ echo '# MediaPipe, which runs our files in a test.'; \
	   $(MEDIAPIPE)/bin/python -m pip freeze; } > constraints-mediapipe.txt
	@{ echo '# MLTK, which reads our parameters in a test, and all that it wants.'; \
	   $(MLTK)/bin/python -m pip freeze; } > constraints-mltk.txt

clean: ## remove the environment, caches and results
	rm -rf $(VENV) $(TENSORFLOW) $(FLEX) $(MEDIAPIPE) $(MLTK) out build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
