# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""A NATS client of the standard library alone, for hosts of brokers, which have no nats-py.

It connects to one server, signs in, and sends a request. Protocol: docs.nats.io, reference, NATS protocol, client.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._options import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_LINE = 1 << 16
_MOST_ANSWER = 1 << 22
_MESSAGE = re.compile(rb"MSG \S+ \S+ (?:\S+ )?(\d{1,9})")


class RawClient:
    """A connection to one server, to be used with ``with``.

    ``address`` is (host, port). ``timeout`` counts for the whole of each call, in seconds. ``context`` has the TLS
    files, or is None for a server without TLS. ``server_name`` is the name that the server's certificate has to be
    valid for. Every fault raises Unreachable with one sentence.
    """

    def __init__(
        self, address: tuple[str, int], context: ssl.SSLContext | None, server_name: str, timeout: float
    ) -> None:
        self.where = f"{address[0]} port {address[1]}"
        self._timeout = timeout
        self._rest = b""
        self._requests = 0
        self._ends = time.monotonic() + timeout
        self._socket = self._call(lambda: socket.create_connection(address, timeout))
        try:
            self.info = self._read_info()
            if context:
                self._socket = self._call(lambda: context.wrap_socket(self._socket, server_hostname=server_name))
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def sign_in(self, credentials: Callable[[str], Mapping[str, str]]) -> None:
        """Send CONNECT with the options that ``credentials(nonce)`` returns, and wait until the server accepts it."""
        options = {"verbose": False, "pedantic": False, "lang": "python", "version": "1", "protocol": 1}
        options.update(credentials(str(self.info.get("nonce", ""))))
        self._send(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self._wait(lambda line: line.upper() == b"PONG")

    def publish(self, subject: str, payload: bytes) -> None:
        """Publish a message, and wait until the server has it. Raises Unreachable if the server refuses it."""
        self._send(f"PUB {subject} {len(payload)}\r\n".encode() + payload + b"\r\nPING\r\n")
        self._wait(lambda line: line.upper() == b"PONG")

    def request(self, subject: str, inbox: str, payload: bytes = b"") -> dict[str, Any]:
        """Return the JSON object that answers the request. ``inbox`` is the prefix that the credentials allow."""
        reply = f"{inbox}.{secrets.token_hex(8)}"
        # A new number: a server ignores a second subscription with the same one
        self._requests += 1
        self._send(
            f"SUB {reply} {self._requests}\r\nPUB {subject} {reply} {len(payload)}\r\n".encode() + payload + b"\r\n"
        )
        message = _MESSAGE.fullmatch(self._wait(lambda line: bool(_MESSAGE.fullmatch(line))))
        size = int(message.group(1)) if message else 0
        if size > _MOST_ANSWER:
            raise self._error(f"an answer of {size} bytes is too large")
        while len(self._rest) < size + 2:
            self._receive()
        answer, self._rest = self._rest[:size], self._rest[size + 2 :]
        try:
            return untrusted.load_object(answer)
        except (TypeError, ValueError) as error:
            raise self._error(f"its answer to {subject} is not a JSON object") from error

    def _read_info(self) -> dict[str, Any]:
        line = self._read_line()
        try:
            if not line.startswith(b"INFO "):
                raise ValueError
            return untrusted.load_object(line[5:])
        except (TypeError, ValueError) as error:
            raise self._error("no NATS server answers there") from error

    def _wait(self, accept: Callable[[bytes], bool]) -> bytes:
        self._ends = time.monotonic() + self._timeout
        while True:
            line = self._read_line()
            if line.startswith(b"-ERR"):
                raise self._error(f"the server says {line[4:].decode(errors='replace').strip()}")
            if line.upper() == b"PING":
                self._send(b"PONG\r\n")
            elif accept(line):
                return line

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._rest:
            if len(self._rest) > _MOST_LINE:
                raise self._error("no NATS server answers there")
            self._receive()
        line, _end, self._rest = self._rest.partition(b"\r\n")
        return line

    def _receive(self) -> None:
        self._socket.settimeout(max(self._ends - time.monotonic(), 0.01))
        data = self._call(lambda: self._socket.recv(_MOST_LINE))
        if not data:
            raise self._error("it closed the connection")
        self._rest += data

    def _send(self, data: bytes) -> None:
        self._call(lambda: self._socket.sendall(data))

    def _call(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except ssl.SSLCertVerificationError as error:
            raise self._error(f"its certificate is not valid: {error.verify_message}") from error
        except TimeoutError as error:  # ssl and socket
            raise self._error("it does not answer in time") from error
        except OSError as error:
            raise self._error(str(getattr(error, "reason", None) or error.strerror or error)) from error

    def _error(self, reason: str) -> _errors.Unreachable:
        return _errors.Unreachable(f"{self.where} can't be used: {reason}.")
