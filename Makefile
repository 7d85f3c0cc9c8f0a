# Copyright: the carrel.jupyter authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
#   make demo        from nothing to running instances on two test hosts
#   make demo-down   remove them
#   make test        everything but test-long and test-vm: linters, unit and sanity tests, real hosts, a real browser
#   make test-quick  linters and tests that need no host; four minutes on two cores
#   make sanity      ansible-test's sanity tests and antsibull-docs' lint, on a copy; they install tools in ~/.ansible/test
#   make test-long   moves to another host, the loss of a host, and takeovers; 25 minutes on two cores, so not in `make test`
#   make test-vm     limits, a real reboot and power cuts, in a virtual machine; slow without KVM
#   make docs        write the reference of the inventory's keys, and the documentation as a site in .cache/site
#   make pictures    the documentation's pictures; those of a browser at work are of the last `make test`
#   make release     changelog, tarball, commit and tag of the version in galaxy.yml; pushes nothing
#   make bench       measure; results in bench/. PARTS="fleet volumes images" leaves out parts that need a host
#   make clean       remove caches: images, virtual environment

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
LINK := .cache/collections/ansible_collections/carrel/jupyter
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHONPATH := $(CURDIR)/.cache/collections:$(CURDIR)

.PHONY: help venv demo demo-down test test-quick test-hosts test-long e2e integration demo-test upgrade moves disaster takeover platforms test-vm lint unit sanity docs pictures release bench clean

# How long a part took, for CI's log.
timed = TIMEFORMAT='make: $(1) took %0R s'; time
# A part beside others: its output stays together.
beside = echo "make: $(1) writes to .cache/$(1).log, which is shown at its end"; \
	code=0; { $(call timed,$(1)) $(2); } &> .cache/$(1).log || code=$$?; cat .cache/$(1).log; exit $$code
# Two at a time, in this order: what is over in minutes, then the longest. Each has hosts, ports and images' names of its
# own, so that any two of them may run at once.
HOSTS_PARTS := e2e integration upgrade demo-test platforms
TEST_PARTS := lint unit sanity $(HOSTS_PARTS)

help:
	@sed -n 's/^#   //p' Makefile

venv: .venv/.done

.venv/.done: requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing python3-venv"; apt-get -qq update && apt-get -qq install -y python3-venv; }
	@echo "making the virtual environment"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-dev.txt
	@mkdir -p $(dir $(LINK)) && ln -sfn $(CURDIR) $(LINK)
	@touch $@

demo: venv
	@python -m testbed.demo

demo-down: venv
	@python -m testbed.demo down

lint: venv
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	antsibull-changelog lint
	python -m testbed.reference --check
	$(call timed,ansible-lint) ansible-lint --offline

unit: venv
	$(call timed,tests/unit) pytest --numprocesses auto --durations 10 tests/unit

test-quick: venv
	@$(MAKE) --no-print-directory --jobs 2 lint unit

# A part waits where another one computes, so in parallel two take little longer than one.
test-hosts: venv
	@$(MAKE) --no-print-directory --jobs 2 $(HOSTS_PARTS)

test-long: venv
	@$(MAKE) --no-print-directory --jobs 2 moves disaster takeover

e2e: venv
	@rm -f .cache/e2e.xml
	$(call timed,molecule) MOLECULE_GLOB='molecule/*/molecule.yml' ANSIBLE_CALLBACKS_ENABLED=ansible.posix.timer molecule test \
		|| { python -m testbed.failures .cache/e2e.xml; exit 1; }

integration: venv
	@$(call beside,integration,pytest --numprocesses auto --dist loadfile --no-loadscope-reorder --durations 30 tests/integration)

demo-test: venv
	@$(call beside,demo,pytest --durations 0 tests/demo)

upgrade: venv
	@$(call beside,upgrade,pytest --durations 0 tests/upgrade)

moves: venv
	@$(call beside,moves,pytest --durations 0 tests/move)

disaster: venv
	@$(call beside,disaster,pytest --durations 0 tests/disaster)

takeover: venv
	@$(call beside,takeover,pytest --durations 0 tests/adopt)

platforms: venv
	@$(call beside,platforms,pytest --durations 0 tests/platforms)

sanity: venv
	@$(call beside,sanity,python -m testbed.sanity)

test: venv
	@$(MAKE) --no-print-directory --jobs 2 $(TEST_PARTS)

test-vm: venv
	python -m testbed vm up
	code=0; pytest tests/vm --verbose || code=$$?; python -m testbed vm down; exit $$code

docs: venv
	python -m testbed.reference
	$(call timed,docs) python -m testbed.docs .cache/site

pictures: venv
	python -m tests.pictures

release: venv
	@python -m testbed.release

bench: venv
	python -m bench $(PARTS)

clean: demo-down
	@python -m testbed clean
	rm -rf .venv .cache .testbed .demo .ansible
