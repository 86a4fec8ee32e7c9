# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sign and verify messages with ed25519, and read public keys from tokens. Keys, seeds and signatures are hex."""

from __future__ import annotations

import base64
import re
import sys
from typing import Any

from .. import _errors
from .._options import untrusted

_KEY = re.compile(r"[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(r"[0-9a-fA-F]{128}")


def is_key(text: str) -> bool:
    """Return True if the text is the hex of an ed25519 public key."""
    return bool(_KEY.fullmatch(text))


def sign(seed: str, data: bytes) -> str:
    """Return the signature of the data. Raises LibraryMissing."""
    return str(_ed25519().Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).sign(data).hex())


def verify(public_key: str, data: bytes, signature: str) -> bool:
    """Return True if the key's owner signed exactly this data. Raises LibraryMissing."""
    library = _ed25519()
    from cryptography.exceptions import InvalidSignature

    if not is_key(public_key) or not _SIGNATURE.fullmatch(signature):
        return False
    try:
        key = library.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), data)
    except (InvalidSignature, ValueError):
        return False
    return True


def claims_signed_by(issuer: str, token: str) -> dict[str, Any] | None:
    """Return the claims of a token (a JWT) that the key ``issuer`` signed, or None for any other text."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        return None
    try:
        header, claims = (untrusted.load_object(_decoded(part)) for part in parts[:2])
        signature = _decoded(parts[2]).hex()
    except ValueError:
        return None
    if header.get("alg") != "EdDSA":
        return None
    return claims if verify(issuer, ".".join(parts[:2]).encode(), signature) else None


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise _errors.LibraryMissing("cryptography", "for the signatures of messages", sys.executable) from error
    return ed25519
