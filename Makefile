# One target a habit. A second run installs nothing.
TORCH_SPEC ?= torch==2.13.0
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check
export OMP_NUM_THREADS ?= 1
unexport PYTHONDONTWRITEBYTECODE  # each of the tests' processes would compile all modules again, in 0.5 s

.PHONY: demo test checks test-interop test-endurance soak numerics unit lint types imports page-lint page-test bench docs schema site clean

demo: .venv/base
	$(BIN)/ptycholive demo $(DEMO)

.venv/torch:
	$(PYTHON) -m venv .venv
	$(PIP) "$(TORCH_SPEC)"
	touch $@

.venv/base: .venv/torch pyproject.toml constraints.txt
	$(PIP) -c constraints.txt -e .
	touch $@

.venv/dev: .venv/torch pyproject.toml constraints.txt
	$(PIP) -c constraints.txt -e '.[dev]'
	touch $@ .venv/base

lint: .venv/dev page-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The page's JavaScript: linter, types, tests of its modules. Without npm it is left out, but not in CI.
PAGE := deploy/page-tools
NPM := $(shell command -v npm)
ifneq ($(NPM)$(CI),)
page-lint: $(PAGE)/node_modules/ready
	npm --prefix $(PAGE) run -s lint
	npm --prefix $(PAGE) run -s types

page-test: $(PAGE)/node_modules/ready
	npm --prefix $(PAGE) run -s test

$(PAGE)/node_modules/ready: $(PAGE)/package-lock.json
	npm --prefix $(PAGE) ci --no-fund --no-audit --silent
	touch $@
else
page-lint page-test:
	@echo "npm is missing: the page's JavaScript is not checked"
endif

types: .venv/dev
	$(BIN)/mypy

imports: .venv/dev
	$(BIN)/lint-imports

# Lanes: each directory of tests belongs to one (CONTRIBUTING.md). Three tests at a time, one thread each: many wait for processes.
PYTEST := $(BIN)/pytest -q --durations=20
THREE := -n 3 --dist worksteal

# The checks take one thread each: two run at a time.
checks: lint types imports page-test site

test: .venv/dev
	$(MAKE) --no-print-directory -j 2 --output-sync=target checks
	$(PYTEST) $(THREE)

test-interop: .venv/dev
	$(PYTEST) $(THREE) tests/interop

# By hand, before a release, on a quiet machine
test-endurance: .venv/dev
	$(PYTEST) -s tests/endurance

# Ten minutes of soak; an hour: make soak SOAK_S=3600 P99_S=1
SOAK_S ?= 600
P99_S ?= 5
soak: .venv/dev
	PTYCHOLIVE_SOAK_S=$(SOAK_S) PTYCHOLIVE_SOAK_P99_S=$(P99_S) $(BIN)/pytest -q -s tests/endurance/test_soak.py

# The numerics tests as processors without AVX-512 and AVX2 compute them.
numerics: .venv/dev
	for kind in default avx2; do \
	  ATEN_CPU_CAPABILITY=$$kind ONEDNN_MAX_CPU_ISA=AVX2 $(PYTEST) $(addprefix tests/unit/ptychopinn/,model training physics mosaic) || exit 1; \
	done

unit: .venv/dev
	$(PYTEST) $(THREE) tests/unit

bench: .venv/base
	$(BIN)/ptycholive bench

schema: .venv/base
	$(BIN)/ptycholive config schema > deploy/docs/reference/config.schema.json

docs: .venv/base schema
	$(BIN)/python deploy/docs/make_tables.py

# The documents as a site, in build/site. A dead link or anchor fails.
SITE := .venv-site/bin
site: .venv-site/ready
	NO_MKDOCS_2_WARNING=1 $(SITE)/mkdocs build --strict -f deploy/site/mkdocs.yml

.venv-site/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-site
	$(SITE)/pip install -q --disable-pip-version-check -c constraints.txt $$($(PYTHON) -c \
	    "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	touch $@

clean:
	rm -rf .venv-site deploy/page-tools/node_modules .venv .venv-ptychodus .venv-sinks .venv-cdtools .venv-senders .venv-ptychi .venv-ray build *.egg-info artefacts
