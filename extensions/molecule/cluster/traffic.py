# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publishes to a stream and reads from it until a stop file exists, and reports lost messages.

traffic.py CLIENT.CONF STOP REPORT: a publisher numbers its messages, and counts one as published only when it is
acknowledged. A reader has a durable consumer and its own connection. When the file STOP exists, the publisher
ends, and the reader ends when it has all messages or receives nothing for a while. REPORT is JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import nats
from nats.errors import Error

from ansible_collections.choria.streams.plugins.module_utils._choria.tokens import sign_nonce
from ansible_collections.choria.streams.plugins.module_utils._connection.settings import Settings
from ansible_collections.choria.streams.plugins.module_utils._options.connection import CONNECTION

SUBJECT = "molecule.traffic"
STREAM = "TRAFFIC"
PATIENCE = 60.0
BETWEEN = 0.02
FAILURES = (Error, OSError, asyncio.TimeoutError)


async def connect(config: str) -> Any:
    """Return a connection with the settings of a configuration file. It reconnects, however long its broker is away."""
    options = {row.option: row.argument().get("default") for row in CONNECTION}
    settings = Settings.from_options({**options, "choria_config": config}.get)
    if not settings.jwt:
        raise SystemExit(f"{config} has no token.")
    token, seed = settings.jwt.text, settings.seed

    async def ignore(_error: Exception) -> None:
        """Ignore errors here, since the calls that fail report them."""

    return await nats.connect(
        list(settings.servers),
        token=token,
        user_jwt_cb=lambda: bytearray(token.encode()),
        signature_cb=lambda nonce: sign_nonce(seed, nonce),
        tls=settings.tls_context(),
        inbox_prefix=settings.inbox_prefix,
        error_cb=ignore,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        ping_interval=2,
    )


async def publish(config: str, stop: Path, report: dict[str, Any]) -> None:
    stream = (await connect(config)).jetstream(timeout=2)
    number, longest, last = 0, 0.0, time.monotonic()
    while not stop.exists():
        headers = {"Nats-Msg-Id": f"traffic-{number}"}
        try:
            await stream.publish(SUBJECT, str(number).encode(), headers=headers)
        except FAILURES:
            report["retries"] += 1
            await asyncio.sleep(0.1)
            continue
        now = time.monotonic()
        longest, last = max(longest, now - last), now
        number += 1
        report["published"] = number
        await asyncio.sleep(BETWEEN)
    report["longest_wait"] = round(longest, 2)


async def read(config: str, stop: Path, report: dict[str, Any], found: dict[int, int]) -> None:
    """Read until everything that was published is found: each number's sequence in the stream.

    Unacknowledged messages of a killed broker are delivered again after later ones, as to any consumer with
    several pending messages. So only the order in the stream counts.
    """
    stream = (await connect(config)).jetstream(timeout=2)
    subscription = await stream.pull_subscribe_bind("reader", stream=STREAM)
    until = None
    while until is None or (len(found) < report["published"] and time.monotonic() < until):
        if stop.exists() and until is None:
            until = time.monotonic() + PATIENCE
        try:
            messages = await subscription.fetch(100, timeout=1)
        except FAILURES:
            await asyncio.sleep(0.1)
            continue
        for message in messages:
            found[int(message.data)] = message.metadata.sequence.stream
            await message.ack()


async def main() -> None:
    config, stop, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    found: dict[int, int] = {}
    report: dict[str, Any] = {"published": 0, "retries": 0}
    target.with_suffix(".started").touch()
    await asyncio.gather(publish(config, stop, report), read(config, stop, report, found))
    report["read"] = len(found)
    sequences = [found[number] for number in sorted(found)]
    report["out_of_order"] = sum(later < earlier for earlier, later in pairwise(sequences))
    report["missing"] = sorted(set(range(report["published"])) - found.keys())[:20]
    target.write_text(json.dumps(report))


asyncio.run(main())
