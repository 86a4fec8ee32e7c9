# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of broker.conf, server.conf and client.conf: keys of Choria by their names.

Each function takes the role's variables by their names. A key whose value is None or empty is left out of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils._operations import config_file

from .brokers import STREAMS
from .network import peer_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

    Given = Mapping[str, Any]
    Settings = dict[str, Any]


def broker_settings(given: Given) -> Settings:
    """Return the contents of broker.conf. Those of choria_broker_settings win."""
    tokens = _has_tokens(given)
    return {
        **_common(given),
        "logfile": _logfile(given, "broker"),
        "plugin.choria.broker_network": True,
        "plugin.choria.network.listen_address": given["choria_broker_listen_address"],
        "plugin.choria.network.client_port": given["choria_broker_port"],
        "plugin.choria.network.stream.store": given["choria_stream_store"],
        "plugin.choria.network.stream.leader_election_replicas": given["choria_stream_replicas"],
        "plugin.choria.network.system.user": (
            given["choria_broker_system_user"] if given["choria_broker_system_password"] else None
        ),
        "plugin.choria.network.system.password": given["choria_broker_system_password"],
        "plugin.choria.stats_address": "127.0.0.1",
        "plugin.choria.stats_port": given["choria_broker_stats_port"],
        "plugin.security.choria.certificate": given["choria_tls_certificate_path"] if tokens else None,
        "plugin.security.choria.key": given["choria_tls_key_path"] if tokens else None,
        **_token(given, "broker"),
        **_streams(given),
        **joined_settings(given),
        **_peers(given),
        **_issuers(given),
        **given["choria_broker_settings"],
    }


def server_settings(given: Given) -> Settings:
    """Return the contents of server.conf. Those of choria_server_settings win."""
    policy = given["choria_rpc_authorization"] == "policy"
    return {
        **_common(given),
        "logfile": _logfile(given, "server"),
        "plugin.choria.status_file_path": given["choria_status_file"],
        "plugin.choria.status_update_interval": 30,
        "plugin.yaml": given["_choria_facts_file"] if given["choria_facts"] else None,
        "registration": given["choria_registration"],
        "registerinterval": given["choria_registration_interval"] if given["choria_registration"] else None,
        "rpcauthorization": policy,
        "rpcauthprovider": "action_policy" if policy else None,
        "plugin.choria.submission.spool": given["choria_submission_spool"],
        "plugin.choria.submission.max_spool_size": given["choria_submission_size"],
        "plugin.choria.machine.store": given["choria_machine_store"],
        **_token(given, "server"),
        **_issuers(given),
        **given["choria_server_settings"],
    }


def client_settings(given: Given) -> Settings:
    """Return the contents of client.conf. Those of choria_client_settings win."""
    return {**_common(given), "loglevel": "warn", **_token(given, "client"), **given["choria_client_settings"]}


def client_mode(given: Given) -> str:
    """Return the mode of client.conf, which all users may read unless it has a secret."""
    return "0600" if config_file.secrets({"settings": client_settings(given)}) else "0644"


def joined_settings(given: Given) -> Settings:
    """Return the networks that a broker joins, and what else it does for other networks."""
    prefix = "plugin.choria.network"
    return {
        f"{prefix}.leafnode_port": given["choria_leafnode_port"] or None,
        f"{prefix}.leafnode_remotes": list(given["choria_leafnode_remotes"]),
        f"{prefix}.leafnode_remote": given["choria_leafnode_remotes"],
        f"{prefix}.gateway_name": given["choria_gateway_name"] if given["choria_gateway_port"] else None,
        f"{prefix}.gateway_port": given["choria_gateway_port"] or None,
        f"{prefix}.gateway_remotes": list(given["choria_gateway_remotes"]),
        f"{prefix}.gateway_remote": given["choria_gateway_remotes"],
        f"{prefix}.websocket_port": given["choria_websocket_port"] or None,
        "plugin.choria.broker_federation": True if given["choria_federation_cluster"] else None,
        "plugin.choria.federation.cluster": given["choria_federation_cluster"],
        "plugin.choria.federation_middleware_hosts": given["choria_federation_hosts"],
        "plugin.choria.adapters": list(given["choria_adapters"]),
        "plugin.choria.adapter": given["choria_adapters"],
    }


def _has_tokens(given: Given) -> bool:
    return bool(given["choria_security_provider"] == "choria")


def _logfile(given: Given, service: str) -> str:
    """Return where a service logs: units of the archive log to the journal, those of packages to files."""
    return "stdout" if given["choria_install_method"] == "archive" else f"/var/log/choria-{service}.log"


def _common(given: Given) -> Settings:
    return {
        "identity": given["choria_identity"],
        "loglevel": "info",
        "collectives": given["choria_collectives"],
        "plugin.choria.use_srv": False,
        "plugin.choria.middleware_hosts": [
            f"{host}:{given['choria_broker_port']}" for host in given["choria_broker_hosts"]
        ],
        "plugin.security.provider": given["choria_security_provider"],
        **_certificate(given),
    }


def _certificate(given: Given) -> Settings:
    """Return where certificates are. With tokens, only brokers show one."""
    provider = given["choria_security_provider"]
    if provider == "puppet":
        return {"plugin.choria.ssldir": given["choria_puppet_ssldir"]}
    settings = {f"plugin.security.{provider}.ca": given["choria_tls_ca_path"]}
    if provider == "file":
        settings["plugin.security.file.certificate"] = given["choria_tls_certificate_path"]
        settings["plugin.security.file.key"] = given["choria_tls_key_path"]
    return settings


def _token(given: Given, name: str) -> Settings:
    path = f"{given['choria_config_folder']}/{name}" if _has_tokens(given) else None
    return {
        "plugin.security.choria.token_file": path and f"{path}.jwt",
        "plugin.security.choria.seed_file": path and f"{path}.seed",
    }


def _issuers(given: Given) -> Settings:
    """Return the issuers whose tokens brokers and servers trust."""
    if not _has_tokens(given):
        return {}
    issuers = {given["choria_issuer"]: given["choria_issuer_public_key"], **given["choria_trusted_issuers"]}
    keys = {f"plugin.security.issuer.{name}.public": key for name, key in issuers.items()}
    return {"plugin.security.issuer.names": list(issuers), **keys}


def _streams(given: Given) -> Settings:
    prefix = "plugin.choria.network.stream"
    replicas = {f"{prefix}.{kind}_replicas": given["choria_stream_replicas"] for kind in STREAMS}
    retention = {f"{prefix}.{kind}_retention": time for kind, time in given["choria_stream_retention"].items()}
    return {**replicas, **retention}


def _peers(given: Given) -> Settings:
    """Return where brokers of a cluster reach each other. A single broker has no peers."""
    if len(given["choria_broker_hosts"]) <= 1:
        return {}
    port = given["choria_broker_peer_port"]
    hosts = (f"[{address}]" if ":" in address else address for address in peer_addresses(given))
    return {
        "plugin.choria.network.peer_port": port,
        "plugin.choria.network.peers": [f"nats://{host}:{port}" for host in hosts],
    }
