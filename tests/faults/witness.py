# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads and writes the servers' data with nats-py only, without any code of the product."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING, Any

import nats
import nats.errors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from nats.aio.client import Client

PATIENCE = 60.0
_ANSWER = 2.0
# The server starts, elects a leader, or has none
_TRANSIENT = (10008, 10009, 10158)
_AT_ONCE = 200


class RefusedError(Exception):
    """JetStream answered with an error, with this number."""

    def __init__(self, subject: str, error: dict[str, Any]) -> None:
        super().__init__(f"{subject}: {error}")
        self.number = int(error.get("err_code", 0))


class Witness:
    """A connection straight to the servers, for one thread. It repeats requests until there is an answer."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)
        self._loop = asyncio.new_event_loop()
        self._client: Client | None = None

    def __enter__(self) -> Witness:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client:
            self._loop.run_until_complete(self._client.close())
        self._loop.close()

    def ask(self, subject: str, body: object = None, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the answer of the JetStream API. Raises RefusedError, or TimeoutError without an answer."""
        return self._loop.run_until_complete(self._ask(f"$JS.API.{subject}", json.dumps(body or {}).encode(), patience))

    def publish(self, subject: str, payloads: Sequence[bytes]) -> None:
        """Publish the messages, and wait until all are stored."""

        async def each() -> None:
            for number in range(0, len(payloads), _AT_ONCE):
                chunk = payloads[number : number + _AT_ONCE]
                await asyncio.gather(*(self._ask(subject, payload, PATIENCE) for payload in chunk))

        self._loop.run_until_complete(each())

    def messages(self, stream: str) -> list[tuple[int, str, bytes]]:
        """Return all messages of a stream, with their sequences and subjects."""
        state = self.ask(f"STREAM.INFO.{stream}", {"deleted_details": True})["state"]
        gone = set(state.get("deleted") or [])
        wanted = [number for number in range(state["first_seq"], state["last_seq"] + 1) if number not in gone]

        async def each() -> list[tuple[int, str, bytes]]:
            found = []
            for start in range(0, len(wanted), _AT_ONCE):
                chunk = wanted[start : start + _AT_ONCE]
                found += await asyncio.gather(*(self._message(stream, number) for number in chunk))
            return [message for message in found if message]

        return self._loop.run_until_complete(each())

    async def _message(self, stream: str, sequence: int) -> tuple[int, str, bytes] | None:
        body = json.dumps({"seq": sequence}).encode()
        try:
            answer = await self._ask(f"$JS.API.STREAM.MSG.GET.{stream}", body, PATIENCE)
        except RefusedError:
            return None  # deleted meanwhile
        message = answer["message"]
        return int(message["seq"]), str(message["subject"]), base64.b64decode(message.get("data", ""))

    async def _ask(self, subject: str, payload: bytes, patience: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience
        while True:
            try:
                client = await self._connected()
                answer: dict[str, Any] = json.loads((await client.request(subject, payload, timeout=_ANSWER)).data)
                error = answer.get("error")
                if not error:
                    return answer
                if error.get("err_code") not in _TRANSIENT:
                    raise RefusedError(subject, error)
            except (nats.errors.Error, OSError, asyncio.TimeoutError):
                pass  # a server that is killed, stopped, or without a leader; the loop ends at the deadline
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answer on {subject} for {patience:g} s")
            await asyncio.sleep(0.1)

    async def _connected(self) -> Client:
        if not self._client or self._client.is_closed:

            async def quiet(_error: Exception) -> None:
                pass

            self._client = await nats.connect(
                self._urls,
                error_cb=quiet,
                connect_timeout=1,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.1,
                ping_interval=1,
                max_outstanding_pings=2,
            )
        return self._client
