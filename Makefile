# On a fresh machine with Python and make:  make demo   |   make test   |   make lab
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-long test-browser lab build bench clean

demo: $(STAMP)
	$(BIN)/unetlab demo

# two workers; a file's tests stay together, for what they share costs much to build
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-browser: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser

# what `make test` takes a sample of: all wrong submissions, every variant before the judge, thousands of mangled files,
# every attack on every rung, twenty kills, the demo
test-long: $(STAMP)
	UNETLAB_LONG=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/test_checks.py tests/test_demo.py tests/test_diagnosis.py tests/test_feedback.py tests/test_fuzz.py tests/test_hostile.py tests/test_nothing_lost.py

lab: $(STAMP)
	$(BIN)/jupyter lab labs

build: $(STAMP)
	$(BIN)/unetlab build

bench: $(STAMP)
	$(BIN)/python benchmarks/data.py
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r benchmarks/requirements.txt
	$(BIN)/python benchmarks/grading.py
	$(BIN)/python benchmarks/course.py

clean:
	rm -rf $(VENV) demo course

# done once, and again when what it installs has changed
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[grade,test]'
	touch $@
