# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""NKeys and NATS credentials files for the tests, and the server configuration that trusts them."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nkeys

if TYPE_CHECKING:
    from pathlib import Path


class NKey:
    """A key pair: its seed and public name as text."""

    def __init__(self, kind: int = nkeys.PREFIX_BYTE_USER) -> None:
        seed = nkeys.encode_seed(os.urandom(32), kind)
        self._pair = nkeys.from_seed(bytearray(seed))
        self.seed = bytes(seed).decode()
        self.public = bytes(self._pair.public_key).decode()

    def sign(self, name: str, subject: NKey, nats: dict[str, Any]) -> str:
        """A NATS JWT about another key."""
        claims = {"jti": name, "iat": 1, "iss": self.public, "name": name, "sub": subject.public, "nats": nats}
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


@dataclass(frozen=True)
class Operator:
    """An operator with one account that has JetStream, and a user's credentials file."""

    server_config: dict[str, Any]
    creds: Path

    @classmethod
    def make(cls, folder: Path, tiers: dict[str, dict[str, Any]] | None = None) -> Operator:
        """Create the operator. ``tiers`` are the limits of the account by the number of replicas, such as R3."""
        operator, account, system = (
            NKey(kind) for kind in (nkeys.PREFIX_BYTE_OPERATOR, nkeys.PREFIX_BYTE_ACCOUNT, nkeys.PREFIX_BYTE_ACCOUNT)
        )
        user = NKey()
        limits = dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports"), -1)
        storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        allowed = {**limits, "tiered_limits": tiers} if tiers else {**limits, **storage}
        preload = {
            account.public: operator.sign("A", account, _claims("account", limits=allowed)),
            system.public: operator.sign("SYS", system, _claims("account", limits=limits)),
        }
        config = {
            "trusted_keys": [operator.public],
            "system_account": system.public,
            "resolver": "MEMORY",
            "resolver_preload": preload,
        }
        creds = folder / "user.creds"
        write_creds(creds, account.sign("ann", user, _claims("user", subs=-1, data=-1, payload=-1)), user)
        return cls(config, creds)


def write_creds(path: Path, jwt: str, user: NKey) -> None:
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    path.chmod(0o600)


def _claims(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "version": 2, **more}


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
