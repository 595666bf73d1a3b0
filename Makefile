# Everything a person types. Each target first makes .venv, installs into it and builds the extension, as needed.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
NATIVE := CMakeLists.txt $(shell find csrc plugin_bridge -path plugin_bridge/plugin -prune -o \( -name '*.cpp' -o -name '*.cu' -o -name '*.h' \
  -o -name CMakeLists.txt -o -name '*.cmake' \) -print)
CPP := $(shell find csrc plugin_bridge tests -name '*.cpp' -o -name '*.cu' -o -name '*.h')
PORT ?= 9000
MINUTES ?= 10
MARGIN ?= auto
CONFIG ?= training/configs/classical.toml
export PYTHON

.PHONY: help setup corpus demo test stage hosts bench plugin install-plugin sanitize soak dashboard-soak format lint clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.installed .venv/.engine  ## .venv with all packages and the built extension

.venv/.installed: pyproject.toml constraints.txt setup/install setup/system-packages
	@setup/system-packages
	@setup/install
	@touch .venv/.installed .venv/.engine

.venv/.engine: .venv/.installed $(NATIVE)
	@setup/install engine
	@touch $@

demo: setup  ## hear a whistled tune as a piano (CLIP=my.wav for a recording of yours, PORT=9000)
	@$(BIN)/python -m rtserver.demo --port $(PORT) $(if $(CLIP),--clip "$(CLIP)")

test: setup  ## the whole test suite, in two processes as far as that does no harm
	@$(BIN)/python -m pytest -n 2

corpus: setup  ## the six domains of training/configs/classical.toml, from scores (needs fluidsynth; CONFIG=... for another)
	@$(BIN)/python -m training.corpus --config $(CONFIG)

stage: setup  ## MINUTES=10 of rtserver live on virtual devices, piano beside identity16k (MARGIN=live, balanced for less, more latency)
	@RTSERVER_STAGE=1 RTSERVER_STAGE_MINUTES=$(MINUTES) RTSERVER_STAGE_MARGIN=$(MARGIN) \
	  $(BIN)/python -m pytest tests/live -s

hosts: plugin  ## the plugin in pedalboard, minihost, dawdreamer, Ardour, jalv and a CLAP host, all of it (half an hour)
	@setup/hosts
	@RTSERVER_HOSTS=1 $(BIN)/python -m pytest tests/hosts -rs

bench: setup  ## decoder, encoder and the whole path of audio, measured on this machine
	@$(BIN)/python -m benchmarks

plugin: setup  ## the plugin for DAWs: CLAP, VST3 and LV2 in build/plugin
	@setup/plugin build

install-plugin: plugin  ## the plugin, copied into your own plugin folders
	@setup/plugin install

sanitize: setup  ## engine and plugin under Valgrind and the sanitizers, on other processors under qemu (minutes)
	@RTSERVER_VALGRIND=1 $(BIN)/python -m pytest tests/parity/test_decoder_program.py tests/plugin/test_sanitized.py -rs

soak: setup  ## MINUTES=10 of the instrument, minute by minute beside identity16k, every miss with its cause
	@$(BIN)/rtserver bench stream --model piano.pt --alternate-with identity16k --seconds $$(( 60 * $(MINUTES) ))

dashboard-soak: setup  ## the dashboard open for MINUTES=10, and pages that come and go: nothing may grow
	@RTSERVER_DASHBOARD_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/dashboard/test_soak.py -rs -s

format: setup  ## rewrite the sources in the project's style
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/clang-format -i $(CPP)

lint: setup  ## ruff, mypy and clang-format, changing nothing
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/clang-format --dry-run -Werror $(CPP)

clean:  ## remove what was built, but not models, recordings or training runs
	rm -rf .venv build dist rtserver/_engine*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
