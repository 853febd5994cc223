# Two commands matter: `make run` and `make test`. Both set everything up first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: setup run test test-all lint bench lock clean

setup: $(VENV)/.ready

# uv does not read pip's configured wheel folder, where this machine's torch may lie: pass it on if there is one.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	links="$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)"; \
	if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python $${links:+--find-links "$$links"} -c constraints.txt -e ".[lab,test]"; \
	else \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[lab,test]"; \
	fi
	touch $@

run: setup
	$(BIN)/athanor run campaigns/heusler-magnets.yaml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: lint
	$(BIN)/python -m pytest -m "slow or not slow"

bench: setup
	$(BIN)/python -m benchmarks

# The local version tag of a CPU wheel must not get into the file: other machines have other wheels. The old file goes
# first, because its `torch==2.13.0` would make the resolver prefer the registry's wheel to the one that lies here.
lock: setup
	rm -f constraints.txt
	links="$$($(BIN)/python -m pip config get global.find-links 2>/dev/null || true)"; \
	echo "torch==2.13.0" > $(VENV)/pins.txt; \
	$(BIN)/uv pip compile --quiet --extra lab --extra test --no-emit-index-url --no-emit-find-links --no-header $${links:+--find-links "$$links"} \
	  -c $(VENV)/pins.txt pyproject.toml -o constraints.txt
	sed -i -e 's/+[a-z0-9]*$$//' -e '/^ *#/d' constraints.txt

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis *.egg-info build
