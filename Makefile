# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# dev.py makes the virtual environments in .venv when needed, and then runs the tool that is named after it
DEV := python3 tests/tools/dev.py

.PHONY: quickstart report test integration interop faults bare molecule lint docs build bench screenshot

quickstart: python3
	@$(DEV) serve env ANSIBLE_CONFIG=playbooks/quickstart.cfg ansible-playbook playbooks/quickstart.yml

# RUN=id for one run; else LAST=5 for the newest five, PLAYBOOK='site.yml' for those of some playbook; STREAM=…, PREFIX=…, OUT=page.html
REPORT := run last stream subject_prefix dest
run := $(RUN)
last := $(LAST)
stream := $(STREAM)
subject_prefix := $(PREFIX)
dest := $(OUT)
report: python3
	@$(DEV) run env ANSIBLE_CALLBACK_RESULT_FORMAT=yaml ANSIBLE_LOCALHOST_WARNING=false \
	  ANSIBLE_INVENTORY_UNPARSED_WARNING=false ansible-playbook playbooks/run_report.yml \
	  $(foreach name,$(REPORT),$(if $($(name)),-e '{"run_report_$(name)": "$($(name))"}')) \
	  $(if $(PLAYBOOK),-e '{"run_report_playbooks": ["$(PLAYBOOK)"]}')

test: python3
	@$(DEV) pytest -n 3 --dist loadfile tests/unit tests/integration tests/faults

integration: python3
	@$(DEV) pytest -n 3 tests/integration

# Beside the real choria program: CHORIA_BIN has its path, or PATH has it
interop: python3
	@$(DEV) pytest -n 3 --dist loadfile tests/interop

# Campaigns of faults, see docs/contributing.md: three short ones, or one with MINUTES=…, SERVERS=3 (or 1), SEED=…,
# SCENARIO=elections (or mixed), SCALE=0.1, KEEP=folder
FAULTS := minutes servers seed scenario scale keep
minutes := $(MINUTES)
servers := $(SERVERS)
seed := $(SEED)
scenario := $(SCENARIO)
scale := $(SCALE)
keep := $(KEEP)
faults: python3
	@$(DEV) run python tests/faults/run.py $(foreach name,$(FAULTS),$(if $($(name)),--$(name) $($(name))))

# 'make quickstart' on bare Debian systems, as a user without rights. SUITES="bookworm" takes one. Needs root
SUITES := bookworm trixie
bare:
	@tests/tools/bare.sh $(SUITES)

# SCENARIOS="…" takes some alone
molecule: python3
	@$(DEV) molecule $(SCENARIOS)

# The quality gates of noxfile.py. SESSIONS="…" takes some alone
lint: python3
	@$(DEV) nox $(if $(SESSIONS),--session $(SESSIONS))

# The picture in docs/results.md, of runs that are made for it
screenshot: python3
	@$(DEV) run python tests/tools/screenshot.py docs/run-report.png

# The documentation site, in .build/site
docs: python3
	@python3 tests/tools/docsite.py

# The tarball, in dist/
build: python3
	@python3 tests/tools/build_collection.py

bench: python3
	@$(DEV) run python benchmarks/run.py

.PHONY: python3
python3:
	@command -v python3 >/dev/null || { echo "There is no python3: install the packages python3 and python3-venv." >&2; exit 1; }
