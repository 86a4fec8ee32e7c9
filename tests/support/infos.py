# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read streams that a test knows to exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils._api import answers, streams

if TYPE_CHECKING:
    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session


def stream_info(session: Session, name: str) -> answers.StreamInfo:
    """Return the info of a stream. Fails if it does not exist."""
    info = streams.info(session, name)
    assert info is not None, f"there is no stream {name}"
    return info


def leader_of(session: Session, name: str) -> str:
    """Return the server that leads a stream, or an empty text."""
    return streams.cluster_of(streams.info(session, name)).get("leader", "")
