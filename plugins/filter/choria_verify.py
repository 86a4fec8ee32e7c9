# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify the signature of a submitted message."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: choria_verify
version_added: 1.0.0
short_description: Verify the signature of a message that Choria Server submitted
description:
  - Returns true if the expected server signed the content of a message.
  - O(choria.streams.choria_submit#module:sign) and C(choria tool submit --sign) sign messages.
  - The signature covers only the content, and neither the subject nor the other headers.
author:
  - The choria.streams developers (@choria-io)
requirements:
  - cryptography
positional: public_key
options:
  _input:
    description:
      - A message as M(choria.streams.choria_stream_message_info) and P(choria.streams.choria_stream#lookup) return it,
        which is a dict with C(headers), and with the content in C(data) or C(payload).
      - >-
        A message that was read as V(json) can't be verified, since its bytes were signed: read it as V(text) or
        V(base64).
    type: dict
    required: true
  public_key:
    description: The server's public key, 64 hexadecimal digits as C(choria jwt keys) shows them.
    type: str
  issuer:
    description:
      - The public key of the organisation's issuer, as C(plugin.security.issuer.<name>.public) has it.
      - The key is then taken from the token in the message. This issuer must have signed the token. The token must be
        valid at the time when the message was stored, and its purpose must be one of O(purpose). It must belong to the
        C(Choria-Identity) that the message names.
      - Exactly one of O(public_key) and O(issuer) has to be given, since a key that only the message itself names
        proves nothing.
    type: str
  purpose:
    description:
      - With O(issuer), the allowed purposes of the token in the message.
      - V(choria_server) is a token of a node (C(choria jwt server)). The identity in the token has to be the message's.
      - V(choria_client_id) is a token of a user or program (C(choria jwt client)). Its caller ID has to be the
        message's C(Choria-Identity). Every user of the organisation has such a token, also one without permissions.
    type: list
    elements: str
    choices: [choria_server, choria_client_id]
    default: [choria_server]
  encoding:
    description:
      - The format in which the content was read. If the message has C(encoding), that is used instead.
    type: str
    choices: [text, base64]
    default: text
"""

EXAMPLES = r"""
---
- name: Read the messages that nodes submitted
  choria.streams.choria_stream_message_info:
    stream: TASKS
    encoding: base64
  register: found

- name: Use only messages that a node of this organisation signed
  ansible.builtin.debug:
    msg: "{{ item.headers['Choria-Identity'] }} says {{ item.data | b64decode }}"
  loop: "{{ found.messages }}"
  loop_control:
    label: "{{ item.sequence }}"
  when: item | choria.streams.choria_verify(issuer=issuer_public_key, encoding='base64')

- name: Use also messages that a user signed with a token of choria jwt client
  ansible.builtin.debug:
    msg: "{{ item.headers['Choria-Identity'] }} says {{ item.data | b64decode }}"
  loop: "{{ found.messages }}"
  loop_control:
    label: "{{ item.sequence }}"
  when: >-
    item | choria.streams.choria_verify(issuer=issuer_public_key, encoding='base64',
                                        purpose=['choria_server', 'choria_client_id'])

- name: Fail where node1 did not sign the last message
  ansible.builtin.assert:
    that: found.messages[-1] | choria.streams.choria_verify(node1_public_key, encoding='base64')
"""

RETURN = r"""
---
_value:
  description: Whether the signature is valid. It is V(false) without a signature.
  type: bool
  sample: true
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._choria.signing import claims_signed_by, is_key, verify
from ansible_collections.choria.streams.plugins.module_utils._options.quantities import parse_timestamp
from ansible_collections.choria.streams.plugins.module_utils._options.values import BASE64, JSON, TEXT, to_bytes
from ansible_collections.choria.streams.plugins.plugin_utils._plugin import is_of_ansible

_NAME = "choria_verify"
_SERVER = "choria_server"
_CLIENT = "choria_client_id"
# The claim that names the owner of a token, by the token's purpose (github.com/choria-io/tokens)
_OWNERS = {_SERVER: "identity", _CLIENT: "callerid"}


def choria_verify(
    message: Any,
    public_key: str | None = None,
    issuer: str | None = None,
    encoding: str = TEXT,
    purpose: str | Sequence[str] = (_SERVER,),
) -> bool:
    """Return True if the message carries a signature by the key, or by the key of a token that the issuer signed."""
    try:
        return _verify(message, public_key, issuer, encoding, purpose)
    except _errors.StreamsError as error:
        raise AnsibleFilterError(f"{_NAME}: {error.message}") from error
    except Exception as error:
        if is_of_ansible(error):
            raise
        raise AnsibleFilterError(f"{_NAME}: {_errors.bug(error).message}") from None


def _verify(message: Any, public_key: str | None, issuer: str | None, encoding: str, purpose: Any) -> bool:
    if not isinstance(message, Mapping) or not isinstance(message.get("headers"), Mapping):
        raise _errors.OptionError("_input", "is not a message: give a dict with headers and data.")
    if encoding not in (TEXT, BASE64):
        raise _errors.OptionError("encoding", f"'{encoding}' is not known: give {TEXT} or {BASE64}.")
    purposes = [purpose] if isinstance(purpose, str) else purpose
    if not isinstance(purposes, Sequence) or not purposes or any(each not in tuple(_OWNERS) for each in purposes):
        raise _errors.OptionError("purpose", f"give {_SERVER}, {_CLIENT} or a list of both.")
    if (public_key is None) == (issuer is None):
        raise _errors.OptionError("public_key", "give either public_key or issuer.")
    for option, key in (("public_key", public_key), ("issuer", issuer)):
        if key is not None and not is_key(str(key).strip()):
            raise _errors.OptionError(option, "is not a public key of 64 hexadecimal digits ('choria jwt keys').")
    data = _data(message, encoding)
    headers = {str(name): str(value) for name, value in message["headers"].items()}
    key = str(public_key).strip() if issuer is None else _key_of_token(message, headers, str(issuer).strip(), purposes)
    return verify(key, data, headers.get("Choria-Signature", ""))


def _data(message: Mapping[str, Any], encoding: str) -> bytes:
    names = [name for name in ("data", "payload") if message.get(name) is not None]
    if len(names) != 1:
        raise _errors.OptionError("_input", "a message has either data or payload.")
    data = message[names[0]]
    if isinstance(data, bytes):
        return data
    encoding = str(message.get("encoding") or encoding)
    if encoding == JSON or not isinstance(data, str):
        raise _errors.OptionError(
            "_input",
            "was read as JSON, and a signature covers the bytes that were sent: read it as text or base64.",
        )
    try:
        return to_bytes(data, encoding)
    except ValueError as error:
        raise _errors.OptionError("_input", f"{names[0]} {error}.") from error


def _key_of_token(message: Mapping[str, Any], headers: Mapping[str, str], issuer: str, purposes: Sequence[str]) -> str:
    """Return the public key in the message's token, or an empty text if the token does not authorize the message."""
    claims = claims_signed_by(issuer, headers.get("Choria-Token", ""))
    if claims is None or claims.get("purpose") not in purposes:
        return ""
    owner = claims.get(_OWNERS[claims["purpose"]])
    if not owner or owner != headers.get("Choria-Identity"):
        return ""
    try:
        stored = parse_timestamp(message["time"]).timestamp() if message.get("time") else time.time()
    except ValueError as error:
        raise _errors.OptionError("_input", f"its time {error}.") from error
    return str(claims.get("public_key", "")) if _is_valid_at(claims, stored) else ""


def _is_valid_at(claims: Mapping[str, Any], moment: float) -> bool:
    """Return True if ``exp`` and ``nbf``, where the token has them, are numbers and allow the moment."""
    limits = {name: claims[name] for name in ("exp", "nbf") if claims.get(name) is not None}
    if any(isinstance(limit, bool) or not isinstance(limit, (int, float)) for limit in limits.values()):
        return False
    # NaN compares as False with everything, so each comparison asks for what is allowed
    return bool(limits.get("exp", moment) >= moment and limits.get("nbf", moment) <= moment)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {_NAME: choria_verify}
