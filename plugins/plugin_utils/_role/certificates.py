# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check certificates, keys and tokens on the controller before they are copied to hosts.

A server and a client with these files complete a TLS handshake in memory. So the checks are those of a real
connection: chain, dates, key, names and purposes.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._choria.tokens import read_seed, read_token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_STEPS = 20


def material_problems(material: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each fault of the files, an empty list if there is none.

    ``material`` has paths on the controller. Empty paths and missing files are not checked: the role creates some of
    them, but not in check mode, and has already checked that the others exist.

    - ``authority``: the PEM file of the option choria_tls_ca.
    - ``trusted``: the PEM files of the option choria_trusted_authorities.
    - ``pairs``: a list of dicts with ``option`` (which messages name), ``certificate``, ``key``, and ``names``, the
      names and addresses that the certificate has to be valid for.
    - ``tokens``: a list of dicts with ``option``, ``token``, ``seed`` and ``purposes``, those that the token may have.
    """
    problems = []
    client = None
    if _is_file(material["authority"]):
        try:
            client = _client(material["authority"])
        except (OSError, ValueError) as error:
            problems.append(f"choria_tls_ca: {material['authority']} can't be used: {_reason(error)}.")
    for trusted in filter(_is_file, material["trusted"]):
        try:
            _client(trusted)
        except (OSError, ValueError) as error:
            problems.append(f"choria_trusted_authorities: {trusted} can't be used: {_reason(error)}.")
    for pair in material["pairs"] if client else ():
        if _is_file(pair["certificate"]):
            problems += _pair_problems(material["authority"], **pair)
    for token in material["tokens"]:
        try:
            _check_token(**token)
        except _errors.OptionError as error:
            problems.append(f"{token['option']}: {error.reason}")
    return problems


def _is_file(path: str) -> bool:
    return bool(path) and Path(path).is_file()


def _client(authority: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    return context


def _pair_problems(authority: str, option: str, certificate: str, key: str, names: Iterable[str]) -> list[str]:
    client, server = _client(authority), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for context in (server, client):
            # No prompt for the password of a key
            context.load_cert_chain(certificate, key or None, password=lambda: "")
    except (OSError, ValueError) as error:
        return [f"{option}: {certificate} and {key or 'no key'} can't be used: {_reason(error)}."]
    server.load_verify_locations(authority)
    server.verify_mode = ssl.CERT_REQUIRED
    wrong = _shake_hands(server, client, None)
    if wrong:
        return [f"{option}: {certificate} is not valid with {authority}: {wrong}."]
    return [
        f"{option}: {certificate} is not valid for {name}: {wrong}. Add the name to the certificate, or correct "
        "choria_identity or choria_broker_hosts."
        for name in sorted(set(names))
        for wrong in [_shake_hands(server, client, name)]
        if wrong
    ]


def _check_token(option: str, token: str, seed: str, purposes: Iterable[str]) -> None:
    """Raise OptionError where a broker would refuse the token, or the seed is none."""
    if _is_file(token) and read_token(token).purpose not in purposes:
        raise _errors.OptionError(
            option, f"the token in {token} is for {read_token(token).purpose}: give one for {' or '.join(purposes)}."
        )
    if _is_file(seed):
        read_seed(seed)


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> str:
    """Return why a server and a client with these settings can't connect, empty where they can."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client.check_hostname = name is not None
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _step in range(_MOST_STEPS):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as error:
                return _reason(error)
        if not ends:
            return ""
    return "they do not end the handshake"


def _reason(error: Exception) -> str:
    texts = (getattr(error, name, None) for name in ("verify_message", "reason", "strerror"))
    return str(next(filter(None, texts), error)).rstrip(".")
