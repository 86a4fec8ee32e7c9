# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of buckets and keys, after nats.go's jetstream/kv.go."""

from __future__ import annotations

from . import codecs

# What a bucket's name gets for the stream beneath it
STREAM_PREFIX = "KV_"

BUCKET_NAME = codecs.text(r"[a-zA-Z0-9_-]+", "a bucket's name is made of letters, digits, _ and -", 252)
KEY = codecs.text(
    r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*",
    "a key is made of letters, digits, -, _, /, = and dots, with no dot at its ends nor two in a row",
)
