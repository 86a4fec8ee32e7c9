# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of choria_stream_message compared with a script that uses bare nats-py, in turns within one run.

messages.py [--short]

The script publishes the same messages, or deletes the same sequences, all without waiting, and parses each answer. The
connections of both exist before. CPU is that of the client.

The module has to do more for each message that it publishes: it checks the subject, gives the message an id, knows
which answer belongs to it, checks the answer, and returns the message, the change and the diff. The floor is a script
that does the same in the shortest way.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / ".build"), str(ROOT / "tests")]

import nats
from _table import ratios, record
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.choria.streams.plugins.module_utils import _archive
from ansible_collections.choria.streams.plugins.module_utils._api import streams
from ansible_collections.choria.streams.plugins.module_utils._connection.sessions import Session
from ansible_collections.choria.streams.plugins.module_utils._operations.messages.messages import SPEC, act
from support.connect import settings
from support.server import NatsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

GOAL = 1.5
SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")
COMMON = {"time": None, "encoding": "text", "duplicate": False}
PEER = "nats-py, pipelined"


class Raw:
    """A connection of bare nats-py, with its own event loop."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._client = self.run(nats.connect(url))

    def run(self, work: Awaitable[Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def send(self, requests: list[tuple[str, bytes]], key: str) -> None:
        """Send all without waiting, and look for a key in each answer."""
        inbox, done, left = self._client.new_inbox(), asyncio.Event(), len(requests)

        async def answered(message: Any) -> None:
            nonlocal left
            if not json.loads(message.data).get(key):
                raise RuntimeError(message.data)
            left -= 1
            if not left:
                done.set()

        subscription = await self._client.subscribe(f"{inbox}.*", cb=answered)
        for subject, payload in requests:
            await self._client.publish(subject, payload, reply=f"{inbox}.all")
        await done.wait()
        await subscription.unsubscribe()

    async def publish(self, messages: list[dict[str, Any]], stream: str) -> dict[str, Any]:
        """Publish all without waiting, with all that the module does for each, and return a result like that of it."""
        inbox, done, sequences = self._client.new_inbox(), asyncio.Event(), dict[str, int]()

        async def answered(message: Any) -> None:
            ack = json.loads(message.data)
            if ack.get("stream") != stream or not isinstance(ack.get("seq"), int) or ack["seq"] < 1:
                raise RuntimeError(message.data)
            sequences[message.subject.rpartition(".")[2]] = ack["seq"]
            if len(sequences) == len(messages):
                done.set()

        subscription = await self._client.subscribe(f"{inbox}.*", cb=answered)
        for number, each in enumerate(messages):
            if not SUBJECT.fullmatch(each["subject"]):
                raise ValueError(each["subject"])
            headers = {"Nats-Msg-Id": os.urandom(11).hex()}
            await self._client.publish(each["subject"], each["data"].encode(), f"{inbox}.{number}", headers)
        await done.wait()
        await subscription.unsubscribe()
        stored = [
            {**COMMON, "stream": stream, **each, "sequence": sequences[str(number)], "headers": {}}
            for number, each in enumerate(messages)
        ]
        changes = [
            {"field": "message", "before": None, "after": each["sequence"], "effect": "create"} for each in stored
        ]
        after = {str(number): {**each, "data": "hidden"} for number, each in enumerate(stored, start=1)}
        return {"changed": True, "messages": stored, "changes": changes, "diff": {"before": {}, "after": after}}

    def close(self) -> None:
        self.run(self._client.close())
        self._loop.close()


def module(session: Session, **given: Any) -> None:
    result = ArgumentSpecValidator(SPEC.argument_spec(), **SPEC.rules).validate(given)
    assert not result.error_messages
    parameters = result.validated_parameters
    start = (time.perf_counter(), time.process_time())
    assert act(session, parameters, False)["changed"]
    taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))


taken: list[tuple[float, float]] = []


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Return the seconds on the clock, and of CPU."""
    start = (time.perf_counter(), time.process_time())
    work()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def create(session: Session, name: str) -> None:
    streams.delete(session, name)
    streams.create(session, {"name": name, "subjects": [f"{name.lower()}.>"], "storage": "memory"})


def main() -> int:
    count, rounds = (100, 2) if "--short" in sys.argv else (1000, 15)
    gc.freeze()
    gc.set_threshold(_archive.NEW_OBJECTS)
    numbers = list(range(1, count + 1))
    messages = [{"subject": f"ours.{number}", "data": f"message {number}"} for number in numbers]
    same = [{"subject": f"theirs.{number}", "data": f"message {number}"} for number in numbers]
    published = [(f"theirs.{number}", f"message {number}".encode()) for number in numbers]
    deletions = [("$JS.API.STREAM.MSG.DELETE.THEIRS", b'{"seq": %d, "no_erase": true}' % number) for number in numbers]
    peer: list[tuple[float, float]] = []
    floor: list[tuple[float, float]] = []
    with NatsServer() as server, Session(settings(servers=server.url)) as session:
        raw = Raw(server.url)
        for _round in range(rounds):
            create(session, "OURS")
            create(session, "THEIRS")
            floor.append(timed(lambda: raw.run(raw.publish(same, "THEIRS"))))
            create(session, "THEIRS")
            peer.append(timed(lambda: raw.run(raw.send(published, "seq"))))
            module(session, messages=messages, atomic=False)
            peer.append(timed(lambda: raw.run(raw.send(deletions, "success"))))
            module(session, state="absent", stream="OURS", sequences=numbers)
        raw.close()
    met = True
    for number, work in enumerate(("published", "deleted")):
        for unit, name in enumerate(("time", "CPU")):
            values = ratios(*([turn[unit] for turn in turns[number::2]] for turns in (taken, peer)))
            met &= record(f"{count} messages {work}, {name}", PEER, values, GOAL)
    values = ratios([turn[1] for turn in taken[::2]], [turn[1] for turn in floor])
    record(f"{count} messages published, CPU", "nats-py, with checks, ids, results", values)
    return 0 if met or "--short" in sys.argv else 1


if __name__ == "__main__":
    sys.exit(main())
