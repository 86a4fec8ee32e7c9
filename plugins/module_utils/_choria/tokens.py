# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read Choria's tokens, which are JWTs that name a caller, and the ed25519 seeds that prove their possession.

Claims: github.com/choria-io/tokens. The broker checks the token's signature. The checks here explain early what the
broker would refuse without a reason.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from .. import _errors
from .._options import untrusted

CLIENT, SERVER = "choria_client_id", "choria_server"
_PURPOSES = {CLIENT: "callerid", SERVER: "identity"}
STREAMS_PREFIX = "choria.streams"
_MOST_SHOWN = 60


@dataclass(frozen=True)
class Token:
    """A token's text and its claims. ``expires`` is RFC 3339 UTC, or None if it never expires."""

    text: str = field(repr=False)
    purpose: str
    caller: str
    organization: str
    expires: str | None
    permissions: tuple[str, ...]
    path: str = ""

    @property
    def api(self) -> str:
        """The prefix of the JetStream API, which differs for servers of organizations other than choria."""
        return STREAMS_PREFIX if self.purpose == SERVER and self.organization != "choria" else "$JS.API"

    def inbox(self, collective: str) -> str:
        """Return the only prefix under which the broker lets this caller subscribe to replies."""
        digest = hashlib.md5(self.caller.encode(), usedforsecurity=False).hexdigest()
        return f"{collective}.reply.{digest}"


def read_token(path: str) -> Token:
    """Return the token in a file. Raises OptionError if it is invalid, has expired or has another purpose."""
    text = _read(path, "jwt").strip()
    claims = _claims(path, text)
    purpose = _text_of(path, claims, "purpose")
    if purpose not in _PURPOSES:
        shown = "".join(filter(str.isprintable, purpose))[:_MOST_SHOWN]
        raise _errors.OptionError(
            "jwt",
            f"the token in {path} is for '{shown or 'nothing'}': give one made with 'choria jwt client' or "
            "'choria jwt server'.",
        )
    caller = _text_of(path, claims, _PURPOSES[purpose])
    if not caller:
        raise _errors.OptionError("jwt", f"the token in {path} does not say whose it is: make a new one.")
    permissions = claims.get("permissions") or {}
    if not isinstance(permissions, dict):
        raise _errors.OptionError("jwt", f"the token in {path} has permissions that are not valid: make a new one.")
    return Token(
        text=text,
        purpose=purpose,
        caller=caller,
        organization=_text_of(path, claims, "ou") or "choria",
        expires=_check_times(path, claims),
        permissions=tuple(sorted(name for name, allowed in permissions.items() if allowed is True)),
        path=path,
    )


def renewed(token: Token) -> Token:
    """Return the token, or after its end the one that its file has now. Raises OptionError as ``read_token`` does."""
    now = _rfc3339(datetime.now(timezone.utc).replace(microsecond=0))
    return read_token(token.path) if token.expires and token.expires <= now else token


def read_seed(path: str) -> str:
    """Return the hex text of the 32-byte seed in a file. Raises OptionError if the file holds something else."""
    text = _read(path, "seed").strip()
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise _errors.OptionError(
            "seed", f"{path} does not hold a seed, which has 64 hexadecimal digits: give a file of 'choria jwt keys'."
        )
    return text


def sign_nonce(seed: str, nonce: str) -> bytes:
    """Return the signature of a broker's nonce in base64url without padding, as its Go client sends it."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError as error:
        raise _errors.LibraryMissing("cryptography", "to sign in with jwt and seed", sys.executable) from error
    signature = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).sign(nonce.encode())
    return base64.urlsafe_b64encode(signature).rstrip(b"=")


def _text_of(path: str, claims: dict[str, Any], claim: str) -> str:
    """Return the text of a claim, or an empty text if it is missing."""
    value = claims.get(claim) or ""
    if not isinstance(value, str):
        raise _errors.OptionError("jwt", f"the token in {path} has no text in its claim {claim}: make a new one.")
    return value


def _claims(path: str, text: str) -> dict[str, Any]:
    parts = text.split(".")
    try:
        if len(parts) != 3 or re.search(r"\s", text):
            raise ValueError
        return untrusted.load_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError as error:
        raise _errors.OptionError(
            "jwt",
            f"{path} does not hold a token, which is one line of three parts joined by dots: give the file that "
            "'choria jwt' or 'choria login' wrote.",
        ) from error


def _check_times(path: str, claims: dict[str, Any]) -> str | None:
    now = time.time()
    begins, ends = _moment(path, claims, "nbf"), _moment(path, claims, "exp")
    if begins and begins.timestamp() > now + 60:
        raise _errors.OptionError(
            "jwt", f"the token in {path} is not valid before {_rfc3339(begins)}: check the clock."
        )
    if ends and ends.timestamp() <= now:
        raise _errors.OptionError(
            "jwt", f"the token in {path} expired at {_rfc3339(ends)}: make a new one ('choria jwt', 'choria login')."
        )
    return _rfc3339(ends) if ends else None


def _moment(path: str, claims: dict[str, Any], claim: str) -> datetime | None:
    """Return the time in a claim, a number of seconds since 1970 (RFC 7519), or None if it is missing."""
    value = claims.get(claim)
    if value is None or (value == 0 and not isinstance(value, bool)):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(int(value), timezone.utc)
    raise _errors.OptionError("jwt", f"the token in {path} has no time in its claim {claim}: make a new one.")


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _read(path: str, option: str) -> str:
    try:
        return untrusted.read_text(os.path.expanduser(path))
    except OSError as error:
        raise _errors.OptionError(
            option, f"{path} can't be read ({error.strerror}): check path and permissions."
        ) from error
