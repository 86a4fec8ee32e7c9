# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The servers that tests start: where they keep the files of deleted streams for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._connection.wire import Request
from support.connect import settings

if TYPE_CHECKING:
    from support.server import NatsServer

pytestmark = pytest.mark.once


def test_wait_until_files_are_removed(server: NatsServer) -> None:
    """The server answers before it removes the files, and many consumers have many files."""
    consumers = [
        Request(
            f"$JS.API.CONSUMER.CREATE.ORDERS.C{number}",
            b'{"stream_name": "ORDERS", "config": {"name": "C%d"}}' % number,
        )
        for number in range(300)
    ]
    with Session(settings(servers=server.url)) as session:
        streams.create(session, {"name": "ORDERS", "subjects": ["orders"]})
        session.request_many(consumers)
        [folder] = server.folder.glob("store/jetstream/*/streams")
        streams.delete(session, "ORDERS")
        assert [path.name for path in folder.iterdir()] == [".ORDERS"]
        server.wait_removed()
        assert not list(folder.iterdir())
