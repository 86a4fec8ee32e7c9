# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""The least that a task costs which needs a server: it connects and publishes a message, with nats-py alone.

Its imports are in Ansible's main process, as those of choria_governor_run are, and of lookups with choria_preload.
The environment variables of the collection name the server, and the files for mutual TLS.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from typing import Any

import nats
from ansible.plugins.action import ActionBase

logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of each end of a TLS connection


async def publish() -> None:
    """Publish a message, and wait until the server has it."""
    tls = None
    if authority := os.environ.get("CHORIA_STREAMS_CA_PATH"):
        tls = ssl.create_default_context(cafile=authority)
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT  # as the collection: authorities of many sites are not strict
        tls.load_cert_chain(os.environ["CHORIA_STREAMS_CLIENT_CERT"], os.environ["CHORIA_STREAMS_CLIENT_KEY"])
    client = await nats.connect(os.environ["CHORIA_STREAMS_SERVERS"], tls=tls)
    await client.publish("floor", b"")
    await client.flush()
    await client.close()


class ActionModule(ActionBase):
    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        asyncio.run(publish())
        return {"changed": False}
