# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check if a host can take the role's variables: changes that its broker can't make, and folders of others."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from .files import folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_CLUSTER = "CHORIA"
_WANTED = (
    "choria_broker",
    "choria_broker_hosts",
    "choria_identity",
    "choria_broker_peer_port",
    "choria_gateway_name",
    "choria_gateway_port",
    "choria_stream_store",
)


def registered_problems(given: Mapping[str, Any]) -> list[str]:
    """Return the problems of a host, by the results that tasks of preflight.yml registered.

    ``given`` has the role's variables by their names. Loops over ``folders`` registered the stat of each folder and
    what is in it, in the same order.
    """
    stats, contents = given["_choria_folder_stats"]["results"], given["_choria_folder_names"]["results"]
    problems = [
        {
            **{key: folder[key] for key in ("option", "own", "owners")},
            "stat": {**stats[index]["stat"], "path": folder["path"]},
            "names": [PurePosixPath(file["path"]).name for file in contents[index].get("files", ())],
        }
        for index, folder in enumerate(folders(given))
    ]
    store_used = (given.get("_choria_store") or {}).get("stat", {}).get("exists", False)
    broker = (given.get("_choria_broker_found") or {}).get("broker") or {}
    desired = {**{name: given[name] for name in _WANTED}, "store_used": store_used}
    return host_problems(desired, given["inventory_hostname"], broker, problems)


def host_problems(
    desired: Mapping[str, Any], host: str, broker: Mapping[str, Any], folders: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return one sentence for each reason, an empty list if there is none.

    ``desired`` has the variables of ``_WANTED``, and ``store_used``, whether that store has streams. ``host`` is the
    inventory's name of the host. ``broker`` is the result of choria_broker_info, empty for a host without one. Each of
    ``folders`` has ``option``, ``stat`` (of the module stat) and ``names`` (its contents). ``own`` are the names of
    what the role puts into it, an empty list for any. ``owners`` are the users to whom the role gives it.
    """
    problems = [problem for folder in folders for problem in _folder_problems(host, **folder)]
    if desired["choria_broker"] and broker.get("deployed"):
        problems += _store_problems(desired, host, broker)
        if broker.get("running"):
            problems += _cluster_problems(desired, host, broker)
    return problems


def _folder_problems(
    host: str, option: str, stat: Mapping[str, Any], names: list[str], own: list[str], owners: list[str]
) -> Iterator[str]:
    if not stat.get("exists"):
        return
    if not stat.get("isdir"):
        yield f"{option}: {stat['path']} of {host} is not a folder: give another path."
        return
    others = sorted(set(names) - set(own)) if own else names
    if others and (stat.get("pw_name") not in owners or stat.get("roth") or stat.get("xoth")):
        yield (
            f"{option}: the folder {stat['path']} of {host} exists, is open to others or belongs to "
            f"{stat.get('pw_name')}, and has other files ({', '.join(others[:3])}): give a folder of its own."
        )


def _store_problems(desired: Mapping[str, Any], host: str, broker: Mapping[str, Any]) -> Iterator[str]:
    before, after = broker.get("store"), desired["choria_stream_store"]
    if broker.get("store_used") and before != after and not desired["store_used"]:
        yield (
            f"choria_stream_store: the broker of {host} keeps its streams in {before}, and {after} has none: it "
            f"would start empty. Stop choria-broker there and move {before}/jetstream to {after}, or leave the "
            "variable as it is."
        )


def _cluster_problems(desired: Mapping[str, Any], host: str, broker: Mapping[str, Any]) -> Iterator[str]:
    cluster, identity = broker["cluster"], desired["choria_identity"]
    clustered = len(desired["choria_broker_hosts"]) > 1
    if bool(cluster["name"]) != clustered and broker.get("store_used"):
        yield (
            f"choria_broker_hosts: the broker of {host} runs {'in a cluster' if cluster['name'] else 'alone'}, and "
            f"its streams do not survive a change to {'a cluster' if clustered else 'a single broker'}: back them up "
            "(choria_backup), deploy with another choria_stream_store that is empty, and restore them (choria_restore)."
        )
        return
    # A broker that takes no part in a cluster may join one under any name and port
    if not cluster["name"] or not cluster["leader"]:
        return
    if broker["identity"] != identity:
        yield (
            f"choria_identity: the broker of {host} is part of the cluster as {broker['identity']}, and as "
            f"{identity} it would be another one, without its copies of streams: leave the identity as it is, or "
            "take the broker out of the cluster (choria_broker: false) before you deploy it under the new name."
        )
    port = int(desired["choria_broker_peer_port"])
    if cluster["peer_port"] != port:
        yield (
            f"choria_broker_peer_port: the broker of {host} runs with {cluster['peer_port']}, and brokers with "
            f"{port} can't reach those that still run with it: stop choria-broker on all brokers, and then run this "
            "again."
        )
    name = desired["choria_gateway_name"] if int(desired["choria_gateway_port"]) else DEFAULT_CLUSTER
    if cluster["name"] != name:
        yield (
            f"choria_gateway_name: the cluster of {host} is called {cluster['name']}, and brokers of a cluster "
            f"{name} would not join it: stop choria-broker on all brokers, and then run this again."
        )
