# SPDX-License-Identifier: Apache-2.0
# Thin: every target prints what it does and leaves the doing to a program.
.PHONY: help setup demo test bench lint clean

help:
	@echo "make setup   system packages (as root, if missing) and .venv"
	@echo "make demo    two clusters on a VLAN, proved; a machine migrates; report.html"
	@echo "make test    every tier of tests: unit, browser, netns, waits, vm, lab, verify, peers"
	@echo "make lint    ruff, mypy, layer contracts, spelling"
	@echo "make bench   measurements beside the reference plugin, about 5 minutes"
	@echo "make clean   remove what the targets made here, .venv too"

setup:
	@tools/setup.sh

demo: setup
	@.venv/bin/spanbridge lab demo

test: setup
	@.venv/bin/python tests/run.py

bench: setup
	@.venv/bin/python -m bench

lint: setup
	@tools/lint.sh

clean:
	@echo "clean: removing .venv, caches and build output"
	@rm -rf .venv .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
