# make demo and make test work on a fresh machine with Python 3.11 or later; PYTHON=... names another one.
PYTHON ?= python3
VENV := .venv
ORACLE_VENV := .venv-oracle
# The last OpenCV line that still reads Darknet networks.
ORACLE_OPENCV := 4.14.0.94
# Tests run in so many processes of one thread each; JOBS=0 runs them in one, as a debugger wants it.
JOBS ?= logical
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
SITE_PACKAGES := -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
RUNNING := $(VENV)/.installed
TESTING := $(VENV)/.installed-test
ORACLE := $(ORACLE_VENV)/.installed
DOCUMENTING := $(VENV)/.installed-docs
PYTHON_FOLDERS := yolor_cfg tools tests examples

# The plain OpenCV wheel needs the system's libGL, which servers and containers often lack.
define install
$(PIP) install -c constraints.txt -e '$(1)'
@$(VENV)/bin/python -c 'import cv2' 2>/dev/null || { \
	echo "opencv-python does not load here (no libGL?): taking its headless build" && \
	$(PIP) uninstall --yes opencv-python opencv-python-headless && \
	$(PIP) install -c constraints.txt --no-deps opencv-python-headless && \
	$(VENV)/bin/python -c 'import cv2'; }
endef

.PHONY: help demo docs test test-all native lint style clean

help:
	@echo "make demo      install into $(VENV) and show the program on images that it draws itself"
	@echo "make test      run the tests that take seconds"
	@echo "make test-all  run every test, also the slow ones and those against OpenCV $(ORACLE_OPENCV)"
	@echo "make native    build the native engine again, after a change of its kernels (C++)"
	@echo "make docs      build the documentation as a site: docs/_build/index.html; a warning is an error"
	@echo "make lint      ruff (rules and format), mypy, the limits of style, files that tools/ writes, make docs"
	@echo "make style     the limits of style alone; needs no installation"
	@echo "make clean     remove what make installed and built; results in runs/ stay"

demo: $(RUNNING)
	$(VENV)/bin/yolor info weights/yolor_nano_shapes.cfg
	$(VENV)/bin/yolor demo

test: $(TESTING)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal -m "not slow and not oracle"

test-all: $(TESTING) $(ORACLE)
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -q -n $(JOBS) --dist worksteal -m "not oracle"
	$(ORACLE_VENV)/bin/python -m pytest -q -m oracle

native: $(RUNNING)
	$(VENV)/bin/python -m pip --quiet install "setuptools>=68"
	$(VENV)/bin/python setup.py --quiet build_ext --inplace

# Everything anew (-E): what a page warned of is not said again while it stays as it is.
docs: $(DOCUMENTING)
	$(VENV)/bin/python -m sphinx -q -E -n -W --keep-going -c docs . docs/_build

lint: $(TESTING) docs
	$(VENV)/bin/python -m ruff check $(PYTHON_FOLDERS) docs/conf.py
	$(VENV)/bin/python -m ruff format --check $(PYTHON_FOLDERS) docs/conf.py
	$(VENV)/bin/python -m mypy
	$(VENV)/bin/python tools/style_check.py
	$(VENV)/bin/python tools/make_cfgs.py --check
	$(VENV)/bin/python tools/readme_tables.py --check
	$(VENV)/bin/python tools/cfg_reference.py --check
	$(VENV)/bin/python tools/cli_reference.py --check

# Needs no installation: the checker uses the standard library alone.
style:
	$(PYTHON) tools/style_check.py

clean:
	rm -rf $(VENV) $(ORACLE_VENV) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f yolor_cfg/engines/native/_kernels*
	find $(PYTHON_FOLDERS) -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNNING): setup.cfg setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Python 3.11 or later is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): PyTorch alone is 200 MB or more, the first time takes minutes"
	$(call install,.[plot])
	@touch $@

$(TESTING): $(RUNNING)
	$(call install,.[test])
	@touch $@

$(DOCUMENTING): $(RUNNING)
	$(call install,.[docs])
	@touch $@

# Only OpenCV differs from $(VENV): what this environment lacks is read from there, its own OpenCV comes first.
$(ORACLE): $(TESTING)
	$(VENV)/bin/python -m venv $(ORACLE_VENV)
	$(ORACLE_VENV)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps \
		opencv-python-headless==$(ORACLE_OPENCV)
	@own=$$($(ORACLE_VENV)/bin/python $(SITE_PACKAGES)) && other=$$($(VENV)/bin/python $(SITE_PACKAGES)) && \
		echo "import site; site.addsitedir('$$other')" > "$$own/other.pth"
	$(ORACLE_VENV)/bin/python -c 'import cv2; cv2.dnn.readNetFromDarknet'
	@touch $@
