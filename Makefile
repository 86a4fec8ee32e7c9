# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# Sessions of noxfile.py, by the nox that nox.sh installs into .venv. What follows -- is for the session
NOX := tests/tools/nox.sh --session

.PHONY: quickstart report test integration interop faults bare molecule lint docs build bench screenshot

quickstart:
	@$(NOX) serve -- ANSIBLE_CONFIG=playbooks/quickstart.cfg ansible-playbook playbooks/quickstart.yml

# RUN=id for one run; else LAST=5 for the newest five, PLAYBOOK='site.yml' for those of some playbook; STREAM=…, PREFIX=…, OUT=page.html
REPORT := run last stream subject_prefix dest
run := $(RUN)
last := $(LAST)
stream := $(STREAM)
subject_prefix := $(PREFIX)
dest := $(OUT)
report:
	@$(NOX) play -- ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ANSIBLE_LOCALHOST_WARNING=false \
	  ANSIBLE_INVENTORY_UNPARSED_WARNING=false ansible-playbook playbooks/run_report.yml \
	  $(foreach name,$(REPORT),$(if $($(name)),-e '{"run_report_$(name)": "$($(name))"}')) \
	  $(if $(PLAYBOOK),-e '{"run_report_playbooks": ["$(PLAYBOOK)"]}')

# TESTS="tests/unit -k codecs" takes some alone
TESTS := tests/unit tests/integration tests/faults
test:
	@$(NOX) test -- -n 3 --dist loadfile $(TESTS)

integration:
	@$(NOX) test -- -n 3 tests/integration

# Beside the real choria program: CHORIA_BIN has its path, or PATH has it
interop:
	@$(NOX) test -- -n 3 --dist loadfile tests/interop

# Campaigns of faults, see docs/contributing.md: three short ones, or one with MINUTES=…, SERVERS=3 (or 1), SEED=…,
# SCENARIO=elections (or mixed), SCALE=0.1, KEEP=folder
FAULTS := minutes servers seed scenario scale keep
minutes := $(MINUTES)
servers := $(SERVERS)
seed := $(SEED)
scenario := $(SCENARIO)
scale := $(SCALE)
keep := $(KEEP)
faults:
	@$(NOX) run -- python tests/faults/run.py $(foreach name,$(FAULTS),$(if $($(name)),--$(name) "$($(name))"))

# 'make quickstart' on bare Debian systems, as a user without rights. SUITES="bookworm" takes one. Needs root
SUITES := bookworm trixie
bare:
	@tests/tools/bare.sh $(SUITES)

# SCENARIOS="…" takes some alone
molecule:
	@$(NOX) molecule -- $(SCENARIOS)

# The quality gates of noxfile.py. SESSIONS="…" takes some alone
lint:
	@tests/tools/nox.sh $(if $(SESSIONS),--session $(SESSIONS))

# The picture in docs/results.md, of runs that are made for it
screenshot:
	@$(NOX) run -- PICTURE=docs/run-report.png pytest -q tests/integration/results/test_run_page.py -k picture

# The documentation site, in .build/site
docs:
	@$(NOX) site

# The tarball, in dist/
build:
	@$(NOX) build

# BENCHMARKS="…" takes some alone
bench:
	@$(NOX) run -- python benchmarks/run.py $(BENCHMARKS)
