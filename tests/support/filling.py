# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fill streams with messages, and delete streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._api import lists, messages, streams

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
    from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request


def publish_many(
    session: Session, what: str, requests: Iterable[Request]
) -> list[messages.Acknowledgement | _errors.StreamsError]:
    """Publish in a pipeline, and return an acknowledgement or an error for each."""
    results: list[messages.Acknowledgement | _errors.StreamsError] = []
    listed = list(requests)
    for request, answer in zip(listed, session.request_many(listed, min(256, messages.window(listed)))):
        try:
            results.append(messages.acknowledged(what, request.headers, answer))
        except _errors.StreamsError as error:
            results.append(error)
    return results


def delete_streams(session: Session) -> None:
    """Delete all streams that the session can see."""
    for name in lists.stream_names(session):
        streams.delete(session, name)
