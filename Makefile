# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

# dev.py makes the virtual environments in .venv when needed, and then runs the tool that is named after it
DEV := python3 tests/tools/dev.py

.PHONY: quickstart test integration molecule lint bench

quickstart: python3
	@$(DEV) serve env ANSIBLE_CONFIG=playbooks/quickstart.cfg ansible-playbook playbooks/quickstart.yml

test: python3
	@$(DEV) pytest -n 2 --dist loadfile tests/unit tests/integration tests/interop

integration: python3
	@$(DEV) pytest -n 2 tests/integration

# SCENARIOS="…" takes some alone
molecule: python3
	@$(DEV) molecule $(SCENARIOS)

lint: python3
	@python3 tests/tools/gates.py

bench: python3
	@$(DEV) run python benchmarks/run.py

.PHONY: python3
python3:
	@command -v python3 >/dev/null || { echo "There is no python3: install the packages python3 and python3-venv." >&2; exit 1; }
