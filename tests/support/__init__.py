# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Code shared by the tests, the benchmarks and the quickstart: servers, certificates, playbooks."""

from pathlib import Path

# The checkout
ROOT = Path(__file__).resolve().parents[2]
