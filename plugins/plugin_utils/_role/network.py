# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses of all hosts of the network, and the certificates and tokens that the role makes for them.

Each function takes the role's variables by their names. ``hostvars`` among them has those of other hosts, where
variables are missing that the inventory does not set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Undefined

if TYPE_CHECKING:
    from collections.abc import Mapping

    Given = Mapping[str, Any]

SERVER_PERMISSIONS = ("submission", "streams", "governor")


def identity(given: Given, host: str) -> str:
    """Return the name of a host of the inventory among brokers and servers."""
    return str(_of(given, host, "choria_identity", host))


def _of(given: Given, host: str, name: str, default: Any) -> Any:
    """Return a variable of a host, or the default if it is not set, or computed from facts that were not gathered."""
    value = given["hostvars"][host].get(name)
    return default if value is None or isinstance(value, Undefined) else value


def server_names(given: Given) -> dict[str, str]:
    """Return the name by which clients reach each broker, by its name in the inventory."""
    names = {}
    for host in given["_choria_broker_inventory"]:
        own = identity(given, host)
        names[host] = next((name for name in (host, own) if name in given["choria_broker_hosts"]), own)
    return names


def peer_identities(given: Given) -> list[str]:
    """Return the names by which brokers know each other, an empty list if the inventory does not have all brokers."""
    identities = [identity(given, host) for host in given["_choria_broker_inventory"]]
    return identities if len(identities) == len(given["choria_broker_hosts"]) else []


def peer_addresses(given: Given) -> list[str]:
    """Return where brokers reach each other. Only the inventory knows another address than that for clients."""
    if not peer_identities(given):
        return list(given["choria_broker_hosts"])
    return [_of(given, host, "choria_broker_peer_address", "") or name for host, name in server_names(given).items()]


def certificate_names(given: Given) -> list[str]:
    """Return the names that the certificate of this host has to be valid for.

    Clients reach the host as a broker by these names. Choria compares the identity with the certificate.
    """
    own = given["choria_identity"]
    names = [own] if given["choria_security_provider"] == "file" else []
    if given["choria_broker"]:
        names += [name for name in given["choria_broker_hosts"] if name in (given["inventory_hostname"], own)]
    return names


def certificates(given: Given) -> list[dict[str, Any]]:
    """Return the certificates to make in choria_security_folder: of hosts, and of users who sign in with one."""
    hosts = given["ansible_play_hosts_all"]
    if given["choria_security_provider"] == "choria":
        # With tokens, only brokers show a certificate
        hosts = sorted(set(hosts) & set(given["_choria_broker_inventory"]))
    listed = []
    for host in hosts:
        own = identity(given, host)
        names = [own, host, *_of(given, host, "choria_security_names", ())]
        listed.append({"name": own, "hosts": list(dict.fromkeys(names))})
    users = _certified_users(given) - {certificate["name"] for certificate in listed}
    return [*listed, *({"name": name} for name in sorted(users))]


def _certified_users(given: Given) -> set[str]:
    if given["choria_security_provider"] != "file":
        return set()
    return {
        user.get("identity") or user["name"]
        for host in given["ansible_play_hosts_all"]
        for user in _of(given, host, "choria_client_users", given["choria_client_users"])
        if not user.get("certificate")
    }


def server_tokens(given: Given) -> list[dict[str, Any]]:
    """Return the tokens to make in choria_security_folder for the servers and brokers of all hosts."""
    if given["choria_security_provider"] != "choria":
        return []
    return [
        {"name": identity(given, host), "permissions": list(SERVER_PERMISSIONS)}
        for host in given["ansible_play_hosts_all"]
    ]
