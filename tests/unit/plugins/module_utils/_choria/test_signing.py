# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of messages, and the filter choria_verify."""

from __future__ import annotations

import base64
import builtins
import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.choria.streams.plugins.filter.choria_verify import FilterModule
from ansible_collections.choria.streams.plugins.module_utils._choria.signing import sign, verify

verified = FilterModule().filters()["choria_verify"]
SEED, ISSUER_SEED, OTHER_SEED = "01" * 32, "02" * 32, "03" * 32
CREATED = "2026-11-23T12:00:00.123456789Z"
STORED = 1795435200


def public(seed: str) -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key()
    return key.public_bytes_raw().hex()


def encoded(content: Any) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(signer: str = ISSUER_SEED, algorithm: str = "EdDSA", **claims: Any) -> str:
    content = {"purpose": "choria_server", "identity": "node1", "public_key": public(SEED), "exp": STORED + 10}
    text = f"{encoded({'alg': algorithm, 'typ': 'JWT'})}.{encoded({**content, **claims})}"
    return f"{text}.{encoded(bytes.fromhex(sign(signer, text.encode())))}"


def message(data: Any = "hello", *, signed: bytes = b"hello", **more: Any) -> dict[str, Any]:
    headers = {"Choria-Signature": sign(SEED, signed), "Choria-Token": token(), "Choria-Identity": "node1"}
    return {"data": data, "time": CREATED, "encoding": "text", "headers": headers, **more}


def with_token(text: str) -> dict[str, Any]:
    found = message()
    found["headers"]["Choria-Token"] = text
    return found


# A vector of RFC 8032, section 7.1, test 2
RFC_SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
RFC_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
RFC_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def test_signature_is_that_of_the_standard() -> None:
    assert sign(RFC_SEED, b"\x72") == RFC_SIGNATURE
    assert verify(RFC_PUBLIC, b"\x72", RFC_SIGNATURE)
    assert not verify(RFC_PUBLIC, b"\x73", RFC_SIGNATURE)


@pytest.mark.parametrize(
    "given",
    [
        message(),
        message(b"hello"),
        {**message(), "data": None, "payload": "hello"},
        message("aGVsbG8=", encoding="base64"),
        message("AAH/", encoding="base64", signed=b"\x00\x01\xff"),
        message("é", signed="é".encode()),
        message(encoding=None),
    ],
)
def test_right_signature(given: dict[str, Any]) -> None:
    assert verified(given, public(SEED)) is True
    assert verified(given, issuer=public(ISSUER_SEED)) is True
    assert verified(given, f"{public(SEED).upper()}\n") is True


@pytest.mark.parametrize(
    "given",
    [
        message("Hello"),
        message("hello\n"),
        message(signed=b"other"),
        {**message(), "headers": {}},
        {**message(), "headers": {**message()["headers"], "Choria-Signature": "00" * 64}},
        {**message(), "headers": {**message()["headers"], "Choria-Signature": "no hex"}},
    ],
)
def test_wrong_signature(given: dict[str, Any]) -> None:
    assert verified(given, public(SEED)) is False
    assert verified(given, issuer=public(ISSUER_SEED)) is False


def test_encoding_is_that_of_the_message_where_it_has_one() -> None:
    plain = {name: value for name, value in message().items() if name != "encoding"}
    assert verified(plain, public(SEED)) is True
    assert verified({**plain, "data": "aGVsbG8="}, public(SEED)) is False
    assert verified({**plain, "data": "aGVsbG8="}, public(SEED), encoding="base64") is True
    assert verified(message(), public(SEED), encoding="base64") is True


def test_key_of_another() -> None:
    assert verified(message(), public(OTHER_SEED)) is False


@pytest.mark.parametrize(
    "text",
    [
        token(signer=OTHER_SEED),
        token(algorithm="none"),
        token(identity="node2"),
        token(exp=STORED - 10),
        token(public_key=public(OTHER_SEED)),
        token(public_key=None),
        token().rpartition(".")[0] + ".",
        token()[:-4],
        "",
        "a.b.c",
        "no token",
        f"{encoded([])}.{encoded([])}.{encoded(b'x')}",
        f"{encoded(b'[' * 100_000)}.{encoded({})}.{encoded(b'x')}",
        f"{encoded({'alg': 'EdDSA'})}.{encoded(b'[' * 100_000)}.{encoded(b'x')}",
        token(exp=float("nan")),
        token(exp="2099-01-01"),
        token(exp=[1]),
        token(nbf=STORED + 10),
        token(nbf=float("nan")),
        token(identity=None),
        token(purpose=None),
        token(purpose=["choria_server"]),
        # With one of these keys, any client of the organization could pretend to be any node
        token(purpose="choria_client_id", callerid="node1", identity="node1"),
        token(purpose="choria_client_id", callerid="choria=bob", identity="node1"),
        token(purpose="choria_provisioning", identity="node1"),
    ],
)
def test_token_that_does_not_vouch(text: str) -> None:
    assert verified(with_token(text), issuer=public(ISSUER_SEED)) is False


@pytest.mark.parametrize("claims", [{"exp": None}, {"nbf": STORED - 10}])
def test_token_that_does(claims: dict[str, Any]) -> None:
    assert verified(with_token(token(**claims)), issuer=public(ISSUER_SEED)) is True


@pytest.mark.parametrize("purpose", ["choria_client_id", ["choria_client_id"], ["choria_server", "choria_client_id"]])
@pytest.mark.parametrize(("caller", "expected"), [("node1", True), ("choria=bob", False), (None, False)])
def test_token_of_a_client_where_it_is_allowed(purpose: Any, caller: str | None, expected: bool) -> None:
    given = with_token(token(purpose="choria_client_id", callerid=caller))
    assert verified(given, issuer=public(ISSUER_SEED), purpose=purpose) is expected


def test_token_of_a_server_where_only_clients_are_allowed() -> None:
    assert verified(message(), issuer=public(ISSUER_SEED), purpose="choria_client_id") is False


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((message(),), "public_key: give either public_key or issuer"),
        ((message(), public(SEED), public(ISSUER_SEED)), "public_key: give either public_key or issuer"),
        ((message(), "abc"), "public_key: is not a public key of 64 hexadecimal digits"),
        ((message(), None, "xyz"), "issuer: is not a public key"),
        (("hello", public(SEED)), "_input: is not a message"),
        (({"data": "hello"}, public(SEED)), "_input: is not a message"),
        (({"headers": {}}, public(SEED)), "a message has either data or payload"),
        ((message({"a": 1}), public(SEED)), "was read as JSON"),
        ((message("1", encoding="json"), public(SEED)), "was read as JSON"),
        ((message(), public(SEED), None, "hex"), "encoding: 'hex' is not known"),
        ((message(), None, public(ISSUER_SEED), "text", "any"), "purpose: give choria_server, choria_client_id or a"),
        ((message(), None, public(ISSUER_SEED), "text", []), "purpose: give choria_server, choria_client_id or a"),
        ((message(), None, public(ISSUER_SEED), "text", [{}]), "purpose: give choria_server, choria_client_id or a"),
        ((message("?", encoding="base64"), public(SEED)), "data is not base64"),
        ((message(time="yesterday"), None, public(ISSUER_SEED)), "is not a time"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[Any, ...], expected: str) -> None:
    with pytest.raises(AnsibleFilterError, match="choria_verify: ") as caught:
        verified(*arguments)
    assert expected in str(caught.value)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    given, original = message(), builtins.__import__

    def missing(name: str, *arguments: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return original(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(AnsibleFilterError, match="The Python library cryptography is needed"):
        verified(given, public(SEED))
