# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup modules without playbooks, and streams to back up."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import messages, streams
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from ansible_collections.choria.streams.plugins.module_utils._errors import StreamsError
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import backup as backup_service
from ansible_collections.choria.streams.plugins.module_utils._operations.backup import restore as restore_service
from support.connect import options
from support.filling import publish_many

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session

COUNT = 300


def backup(session: Session, folder: Path, check: bool = False, **given: Any) -> dict[str, Any]:
    """Return the result of choria_backup. In check mode the session refuses writes, as in the module."""
    return run(backup_service.BACKUP, backup_service.backup, session, check, path=str(folder), **given)


def restore(session: Session, path: str | Path, check: bool = False, **given: Any) -> dict[str, Any]:
    return run(restore_service.RESTORE, restore_service.restore, session, check, path=str(path), **given)


def run(spec: Any, act: Any, session: Session, check: bool, **given: Any) -> dict[str, Any]:
    session.read_only = check
    try:
        return dict(act(session, options(SimpleNamespace(spec=spec, states={}), **given), check))
    finally:
        session.read_only = False


def known(folder: Path, **given: Any) -> list[dict[str, Any]]:
    """Return the result of choria_backup_info."""
    spec = SimpleNamespace(spec=backup_service.INFO, states={})
    whole = options(spec, path=str(folder), **given)
    return list(backup_service.backups_of(whole, False)["backups"])


def refusal(act: Any, *arguments: Any, **given: Any) -> StreamsError:
    with pytest.raises(StreamsError) as raised:
        act(*arguments, **given)
    return raised.value


def fill(session: Session, name: str = "ORDERS", count: int = COUNT, **config: Any) -> None:
    subject = name.lower()
    streams.create(session, {"name": name, "subjects": [f"{subject}.>"], "allow_direct": True, **config})
    payloads = (
        Request(f"{subject}.{number % 7}", os.urandom(number * 10), {"N": str(number)}) for number in range(count)
    )
    for answer in publish_many(session, "Filling", payloads):
        assert isinstance(answer, dict)


def consume(session: Session, stream: str, name: str, count: int) -> None:
    """Create a durable consumer that has acknowledged this many messages."""
    session.request(
        session.api(f"CONSUMER.DURABLE.CREATE.{stream}.{name}"),
        json.dumps({"stream_name": stream, "config": {"durable_name": name, "ack_policy": "explicit"}}).encode(),
    )
    inbox = session.new_inbox()
    session.subscribe(inbox)
    session._drive(  # modules never send a request with many answers that each have their own reply subject
        session._client.publish(
            session.api(f"CONSUMER.MSG.NEXT.{stream}.{name}"), json.dumps({"batch": count}).encode(), reply=inbox
        )
    )
    for _number in range(count):
        message = session.receive(30)
        assert message is not None
        session.request(message.reply, b"+ACK")
    session.unsubscribe_all()


def content(session: Session, stream: str) -> list[Any]:
    """Return all messages of a stream, with their sequences and times."""
    info = streams.info(session, stream)
    assert info is not None
    numbers = range(max(1, info["state"]["first_seq"]), info["state"]["last_seq"] + 1)
    return [messages.get(session, stream, sequence=number) for number in numbers]
