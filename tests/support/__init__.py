# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests, the benchmarks and the quickstart share: servers, certificates, playbooks."""
