# make demo    segments the sample CT into demo/ (no torch needed)
# make app     opens the whole product in the browser (docs/browser.md)
# make test    runs the tests;  make test-slow also those that take minutes
# make lint    checks format, style and types
# PYTHON=...   chooses the interpreter, PYTEST=... adds arguments, DEMO=... arguments of the demo, APP=... of the server

SHELL := /bin/bash
BIN := .venv/bin

.PHONY: demo app sample test test-slow lint format clean

demo:
	@.ci/environment cpu,slicer
	@.ci/rendering
	@$(BIN)/hlfd demo --out demo $(DEMO)

app:
	@.ci/environment cpu,train,slicer,web
	@.ci/rendering
	@$(BIN)/python -m hlfd_web $(APP)

# the sample CT of the demo, from drawn shapes; a fixed seed gives the same files
SAMPLES := HLFDSegment/Resources/HLFDSegment/Samples
sample:
	@.ci/environment cpu,train,slicer,web,dev
	@$(BIN)/hlfd phantom build/sample --seed 7 --spacing 1.7 --shape 120 160 220 --phase nephrographic --noise 9 \
	  --tumors 1 --tumor-mm 30 45 --cysts 1 --cyst-mm 18 30 --labels kidney
	@cp build/sample/ct.nii.gz $(SAMPLES)/sample_ct.nii.gz
	@cp build/sample/labels.nii.gz $(SAMPLES)/sample_labels.nii.gz

test:
	@.ci/environment cpu,train,slicer,web,dev
	@.ci/rendering
	@.ci/browser
	@$(BIN)/python -m pytest -q $(PYTEST)

test-slow:
	@.ci/environment cpu,train,slicer,web,dev
	@.ci/rendering
	@.ci/browser
	@$(BIN)/python -m pytest -q -m "slow or not slow" $(PYTEST)

lint:
	@.ci/environment cpu,train,slicer,web,dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format:
	@.ci/environment cpu,train,slicer,web,dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache
