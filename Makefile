# `make demo` and `make test` set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG := configs/demo_edsr_x2.py
WORK := work_dirs/demo_edsr_x2
KERNELS := $(wildcard $(addprefix sr_plugins/ops/,build.py csrc/*.h csrc/cpu/*))
PHOTO := data/demo/benchmark/Demo/HR/astronaut.png
# In the environment, so that constraints reach isolated builds as well: basicsr asks
# for torch to build itself. Relative, since pip takes a space for the end of a path.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Old pips otherwise let basicsr fetch its own torch, past all constraints.
export PIP_USE_PEP517 := 1

.PHONY: demo test lint format setup clean

demo: setup
	$(BIN)/python tools/prepare_data.py demo
	$(BIN)/python tools/train.py $(CONFIG)
	$(BIN)/python tools/test.py $(CONFIG) $(WORK)/best.pth --bicubic --datasets Demo
	$(BIN)/python tools/infer.py $(CONFIG) $(WORK)/best.pth $(PHOTO) --out results
	$(BIN)/python tools/compare.py $(CONFIG) $(WORK)/best.pth $(PHOTO) \
		--out results/comparison.png
	@echo
	@echo 'checkpoint      $(WORK)/best.pth'
	@echo 'learning curve  $(WORK)/learning_curve.png'
	@echo 'scores          $(WORK)/test/best/results.md'
	@echo 'enlarged        results/astronautx2.png'
	@echo 'comparison      results/comparison.png'

# Several files at a time, each in one process on one thread: together they take what
# one of many threads takes, and less time.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(VENV)/.ready $(VENV)/.kernels

# The mark is made last: an interrupted set-up is done again.
$(VENV)/.ready: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else "Expected Python 3.10 to 3.12, but %s is %d.%d. Name another one: make PYTHON=python3.11" % (sys.executable, *v))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

# Where there is no compiler it says so, and torch's operators serve.
$(VENV)/.kernels: $(VENV)/.ready $(KERNELS)
	-$(BIN)/python -m sr_plugins.ops.build
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info sr_plugins/ops/*.so
