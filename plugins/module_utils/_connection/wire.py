# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes over the wire: requests, messages, what a server says of itself, and answers that are awaited."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping


@dataclass(frozen=True)
class Request:
    """What is sent. ``many`` awaits several messages, the last with a status.

    With ``Nats-Msg-Id`` among the headers it may be sent twice without harm, and is, after a broken connection.
    """

    subject: str
    payload: bytes = b""
    headers: Mapping[str, str] | None = None
    many: bool = False

    @property
    def size(self) -> int:
        """In bytes, with the headers as they are sent, since servers limit both together."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in (self.headers or {}).items())
        return len(self.payload) + (len(f"NATS/1.0\r\n{lines}\r\n".encode()) if lines else 0)


@dataclass(frozen=True)
class Message:
    """What came: a reply or a message of a subscription. ``headers`` is empty where there were none."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status of a reply without content, such as ``503`` (nobody listens) or ``404``; else an empty text."""
        return self.headers.get("Status", "")


@dataclass(frozen=True)
class Server:
    """What the server says of itself when a client connects."""

    name: str
    version: tuple[int, ...]
    jetstream: bool
    clustered: bool
    max_payload: int

    @classmethod
    def from_info(cls, info: Mapping[str, Any]) -> Server:
        digits = re.match(r"\d+(\.\d+)*", str(info.get("version", "")))
        return cls(
            name=str(info.get("server_name", "")),
            version=tuple(int(part) for part in digits.group(0).split(".")) if digits else (),
            jetstream=bool(info.get("jetstream")),
            clustered=bool(info.get("cluster")),
            max_payload=int(info.get("max_payload", 1 << 20)),
        )


class Pending:
    """A request whose answer is awaited."""

    def __init__(self, request: Request, future: asyncio.Future[list[Message]]) -> None:
        self.request = request
        self.future = future
        self.messages: list[Message] = []

    def feed(self, message: Message) -> bool:
        """Takes a reply, and tells whether it was the last."""
        last = not self.request.many or bool(message.status)
        self.messages.append(message)
        if last and not self.future.done():
            self.future.set_result(self.messages)
        return last

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
