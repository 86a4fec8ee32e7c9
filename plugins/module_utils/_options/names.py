# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of the names of streams, subjects, buckets, keys and governors, after nats-server, nats.go and Choria."""

from __future__ import annotations

from . import codecs

# Prefixes of the streams behind buckets and governors
BUCKET_PREFIX, GOVERNOR_PREFIX = "KV_", "GOVERNOR_"

STREAM_NAME = codecs.text(
    r"[^\s.*>/\\]{1,255}", "a stream's name has up to 255 characters, no space and none of . * > / \\", 255
)
SUBJECT = codecs.text(
    r"((?!>\.)[^\s.]+\.)*[^\s.]+", "a subject is words joined by dots, without spaces, and > can only be the last word"
)
SUBJECT_PREFIX = codecs.text(r"[^\s.*>]+(\.[^\s.*>]+)*", "write words joined by dots, without spaces, * and >")
BUCKET_NAME = codecs.text(r"[a-zA-Z0-9_-]+", "a bucket's name is made of letters, digits, _ and -", 252)
KEY = codecs.text(
    r"[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*",
    "a key is made of letters, digits, -, _, /, = and dots, with no dot at its ends nor two in a row",
)
# Other clients may use any subject as a key. Existing keys can be read, changed and deleted, whatever their name
_WORD = r"(?![*>](\.|$))[^ \t\r\n\f\v.]+"
EXISTING_KEY = codecs.text(rf"{_WORD}(\.{_WORD})*", KEY.shape)
GOVERNOR_NAME = codecs.text(r"[a-zA-Z0-9_-]+", "a governor's name is made of letters, digits, _ and -", 246)
