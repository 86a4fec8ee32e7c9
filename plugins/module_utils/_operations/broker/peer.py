# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a lost broker from the cluster, by ``$JS.API.SERVER.REMOVE`` of nats-server."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from ... import _errors
from ..._choria.config import read_config
from ..._options import codecs, fields, quantities
from .broker import CONFIG_FILE, connect, facts, read_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._choria.config import ChoriaConfig

_REMOVE = "$JS.API.SERVER.REMOVE"
_PAUSE = 0.5  # statistics have no events

SPEC = fields.Spec(
    (
        fields.Field(
            "name", codecs.text(r"\S+", "a broker's identity has no spaces"), argument_extra={"required": True}
        ),
        fields.Field("state", codecs.choice("absent"), argument_extra={"default": "absent"}),
        fields.Field("config", codecs.Codec({"type": "path"}), argument_extra={"default": CONFIG_FILE}),
        fields.Field("server_name", codecs.text()),
        fields.Field("timeout", codecs.duration(0.1, zero_allowed=False), argument_extra={"default": "10s"}),
    )
)


def remove(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result. Raises Refused for a broker that is online, and StreamsError if it stays."""
    values = fields.checked(SPEC, options.get)
    name, timeout = values["name"], values["timeout"] / quantities.NANOSECOND
    config = read_config(values["config"], option="config")
    cluster = facts(read_statistics(config, timeout))["cluster"]
    if not cluster["name"]:  # a single broker counts no others
        return {"changed": False, "leader": None}
    if not cluster["leader"]:
        raise _errors.StreamsError("The cluster has no leader: wait until it has one.", code="no_leader")
    if cluster["leader"] != config.identity:
        return {"changed": False, "leader": cluster["leader"]}
    result = {"changed": name in cluster["peers"], "leader": cluster["leader"]}
    if not result["changed"]:
        return result
    if name not in cluster["offline"]:
        raise _errors.Refused(f"name: the broker {name} is online: stop it first.", option="name")
    if not check_mode:
        _remove(config, values, timeout)
    return result


def _remove(config: ChoriaConfig, values: Mapping[str, Any], timeout: float) -> None:
    """Ask for the removal, and wait until the cluster no longer counts the broker: not every release answers."""
    user, password = (config.get(f"plugin.choria.network.system.{key}") for key in ("user", "password"))
    if not user or not password:
        raise _errors.OptionError(
            "config",
            f"{config.path} has no user of the system account: set plugin.choria.network.system.user and "
            "plugin.choria.network.system.password (choria_broker_system_password of the role).",
        )
    with connect(config, values.get("server_name") or config.identity, timeout) as client:
        client.sign_in(lambda _nonce: {"user": user, "pass": password})
        client.publish(_REMOVE, json.dumps({"peer": values["name"]}).encode())
    ends = time.monotonic() + timeout
    while values["name"] in facts(read_statistics(config, timeout))["cluster"]["peers"]:
        if time.monotonic() >= ends:
            raise _errors.StreamsError(
                f"The cluster still counts {values['name']} after {timeout:g} s: check the log of choria-broker.",
                code="outcome_unknown",
            )
        time.sleep(_PAUSE)
