# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Report the state of this host's Choria Broker, by its own statistics and by a test connection.

Statistics are those of nats-server (server/monitor.go): /varz, /healthz and /jsz, which Choria serves on the
loopback address.
"""

from __future__ import annotations

import http.client
import os
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ... import _errors
from ..._choria.config import ChoriaConfig, read_config
from ..._connection.sources import choria_options
from ..._options import codecs, fields, quantities, untrusted
from .raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

CONFIG_FILE = "/etc/choria/broker.conf"
_STREAMS = "/jsz?accounts=true&streams=true&config=true"
_PAUSE = 1.0  # between two looks: statistics have no events
_MOST_STATISTICS = 64 << 20
_LONGEST_SILENCE = 5 * quantities.NANOSECOND
_IDLE = {"running": False, "serves": False, "well": False, "whole": False}

SPEC = fields.Spec(
    (
        fields.Field("config", codecs.Codec({"type": "path"}), argument_extra={"default": CONFIG_FILE}),
        fields.Field("server_name", codecs.text()),
        fields.Field("peers", codecs.Codec({"type": "list", "elements": "str"})),
        fields.Field("max_wait", codecs.duration(), argument_extra={"default": "0"}),
        fields.Field("timeout", codecs.duration(0.1, zero_allowed=False), argument_extra={"default": "5s"}),
    )
)


class Statistics(NamedTuple):
    """The answers of /varz, /healthz and /jsz."""

    server: Mapping[str, Any]
    health: Mapping[str, Any]
    streams: Mapping[str, Any]


class Client(NamedTuple):
    """The result of the test connection.

    ``signed_in`` and ``jetstream`` are None if they could not be tried; ``problem`` says why.
    """

    signed_in: bool | None
    jetstream: bool | None
    problem: str = ""


def read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole result of a task. With ``max_wait`` it waits until the broker is healthy."""
    values = fields.checked(SPEC, options.get)
    timeout = values["timeout"] / quantities.NANOSECOND
    ends = time.monotonic() + values["max_wait"] / quantities.NANOSECOND
    while True:
        broker = _inspect(values, timeout)
        if not broker["problems"] or time.monotonic() >= ends:
            return {"changed": False, "broker": broker}
        time.sleep(_PAUSE)


def _inspect(values: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    if not os.path.exists(values["config"]):
        return {"deployed": False, **_IDLE, "problems": ["it is not deployed"], **_store_of("")}
    config = read_config(values["config"], option="config")
    result: dict[str, Any] = {"deployed": True, **_IDLE, **_store_of(config.get("plugin.choria.network.stream.store"))}
    try:
        statistics = read_statistics(config, timeout)
    except _errors.Unreachable as error:
        return {**result, "problems": [error.message]}
    client = try_client(config, values.get("server_name") or config.identity, timeout)
    result.update(running=True, client=client._asdict(), **facts(statistics))
    missing = list(cluster_problems(statistics, values.get("peers")))
    result.update(problems=[*missing, *client_problems(client)], well=_is_well(statistics), whole=not missing)
    # Without a leader of its cluster it takes no part in it, and nothing is lost when it restarts
    result["serves"] = not result["cluster"]["name"] or bool(result["cluster"]["leader"])
    return result


def _store_of(path: str) -> dict[str, Any]:
    """Return the folder of the streams, and if it has any."""
    used = bool(path) and os.path.isdir(os.path.join(path, "jetstream"))
    return {"store": path or None, "store_used": used}


def read_statistics(config: ChoriaConfig, timeout: float) -> Statistics:
    """Return the statistics of this host's broker. Raises Unreachable."""
    port = config.number("plugin.choria.stats_port", 0)
    if not port:
        raise _errors.Unreachable(f"{config.path} sets no plugin.choria.stats_port")
    return Statistics(*(_ask(port, path, timeout) for path in ("/varz", "/healthz", _STREAMS)))


def _ask(port: int, path: str, timeout: float) -> dict[str, Any]:
    """Return the JSON object under a path of the statistics, with any status. Raises Unreachable."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return untrusted.load_object(connection.getresponse().read(_MOST_STATISTICS))
    except (OSError, http.client.HTTPException) as error:
        raise _errors.Unreachable(f"port {port} on 127.0.0.1 serves no statistics ({error})") from error
    except ValueError as error:
        raise _errors.Unreachable(f"port {port} on 127.0.0.1 answers with data that {error}") from error
    finally:
        connection.close()


def try_client(config: ChoriaConfig, server_name: str, timeout: float) -> Client:
    """Connect to the broker's port for clients with TLS, sign in with the broker's own files, and ask JetStream."""
    try:
        with connect(config, server_name, timeout) as client:
            return _sign_in(client, choria_options(config, with_servers=False))
    except _errors.StreamsError as error:
        return Client(signed_in=False, jetstream=None, problem=error.message.rstrip("."))


def connect(config: ChoriaConfig, server_name: str, timeout: float) -> RawClient:
    """Connect to the broker of this host, with the TLS files of its configuration. Raises Unreachable."""
    address = config.get("plugin.choria.network.listen_address") or "127.0.0.1"
    address = {"::": "127.0.0.1", "0.0.0.0": "127.0.0.1"}.get(address, address)
    port = config.number("plugin.choria.network.client_port", 4222)
    return RawClient((address, port), _context(choria_options(config, with_servers=False)), server_name, timeout)


def _context(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        untrusted.check_pem(*filter(None, map(options.get, ("ca_path", "client_cert", "client_key"))))
        context.load_verify_locations(options.get("ca_path"))
        if options.get("client_cert"):
            context.load_cert_chain(options["client_cert"], options["client_key"], password=lambda: "")
    except (OSError, TypeError, ValueError) as error:
        raise _errors.Unreachable(f"the TLS files of the broker can't be used ({error})") from error
    return context


def _sign_in(client: RawClient, options: Mapping[str, Any]) -> Client:
    api, inbox = "$JS.API", "_INBOX"

    def credentials(nonce: str) -> dict[str, str]:
        return {"jwt": token.text, "sig": sign_nonce(seed, nonce).decode()} if token else {}

    token = None
    if options.get("jwt"):
        from ..._choria.tokens import read_seed, read_token, sign_nonce

        token, seed = read_token(options["jwt"]), read_seed(options["seed"])
        api, inbox = token.api, token.inbox(options["collective"])
    try:
        client.sign_in(credentials)
    except _errors.LibraryMissing as error:
        # Hosts of brokers need no library. The certificate was checked, and JetStream is on if the server says so.
        return Client(None, bool(client.info.get("jetstream")), error.message)
    try:
        answer = client.request(f"{api}.INFO", inbox)
    except _errors.Unreachable as error:
        allowed = "permissions violation" not in error.message.lower()
        return Client(True, False if allowed else None, error.message.rstrip("."))
    return Client(True, "error" not in answer, str((answer.get("error") or {}).get("description", "")))


def facts(statistics: Statistics) -> dict[str, Any]:
    """Return what the result shows of a running broker."""
    server, meta = statistics.server, statistics.streams.get("meta_cluster") or {}
    own = str(server.get("server_name", ""))
    # A single Choria Broker also has the name of a cluster, but no leader
    cluster = (server.get("cluster") or {}) if meta else {}
    return {
        "identity": own,
        "client_port": server.get("port"),
        "cluster": {
            "name": cluster.get("name") or None,
            "peer_port": cluster.get("cluster_port") or None,
            "leader": meta.get("leader") or None,
            "size": meta.get("cluster_size", 0),
            "peers": sorted({name for name, _online in _peers(meta)} | ({own} if meta else set())),
            "offline": sorted(name for name, online in _peers(meta) if not online),
        },
        "led": sorted(
            stream["name"] for stream in _replicated(statistics.streams) if stream["cluster"].get("leader") == own
        ),
        "streams": [_settings(stream) for stream in _all(statistics.streams) if _leads(own, stream)],
    }


def _leads(own: str, stream: Mapping[str, Any]) -> bool:
    """Return True if this broker leads the stream or has its only replica. Others may have old information."""
    cluster = stream.get("cluster")
    return not isinstance(cluster, dict) or cluster.get("leader") == own


def _settings(stream: Mapping[str, Any]) -> dict[str, Any]:
    config = stream.get("config") or {}
    return {
        "name": stream["name"],
        "replicas": config.get("num_replicas", 1),
        "max_age": config.get("max_age", 0) / quantities.NANOSECOND,
    }


def _is_well(statistics: Statistics) -> bool:
    return statistics.health.get("status") == "ok"


def client_problems(client: Client) -> Iterator[str]:
    """Yield the reason why clients can't use the broker, if there is one."""
    if client.signed_in is False or client.jetstream is False:
        yield f"clients can't use it: {client.problem or 'JetStream does not answer'}"


def cluster_problems(statistics: Statistics, peers: Collection[str] | None) -> Iterator[str]:
    """Yield one sentence for each reason why the broker is not healthy, or lacks peers or replicas of streams.

    ``peers`` are the expected brokers of the cluster, None to accept any. Only the leader of the cluster knows which
    are online, so that all brokers together have to be asked.
    """
    if not _is_well(statistics):
        health = statistics.health
        yield f"it reports that it is not healthy: {health.get('error') or health.get('status') or 'no reason given'}"
    meta, own = statistics.streams.get("meta_cluster") or {}, str(statistics.server.get("server_name", ""))
    if peers is not None and len(peers) > 1 and not meta.get("leader"):
        yield "its cluster has no leader"
    if peers is not None and meta.get("leader") == own:
        yield from _peer_problems(meta, own, set(peers))
    yield from _stream_problems(statistics.streams, own)


def _peer_problems(meta: Mapping[str, Any], own: str, expected: set[str]) -> Iterator[str]:
    online = dict(_peers(meta))
    online[own] = True
    missing = sorted(name for name in expected if not online.get(name))
    others = sorted(online.keys() - expected)
    if missing:
        yield f"the cluster lacks {', '.join(missing)}"
    if others:
        yield f"the cluster still counts {', '.join(others)}, which should not be part of it"


def _stream_problems(streams: Mapping[str, Any], own: str) -> Iterator[str]:
    """Yield one sentence for all streams without a leader, and one for each set of brokers with missing replicas."""
    names_by_brokers: dict[str, list[str]] = {}
    for stream in _replicated(streams):
        cluster = stream["cluster"]
        if not cluster.get("leader"):
            names_by_brokers.setdefault("", []).append(stream["name"])
        elif cluster["leader"] == own:
            # Each broker reports itself whether its replicas are current (/healthz). To the leader, the replicas of a
            # busy stream always lag a bit
            lost = sorted(name for name, online in _peers(cluster) if not online)
            if lost:
                names_by_brokers.setdefault(", ".join(lost), []).append(stream["name"])
    for brokers, names in sorted(names_by_brokers.items()):
        one = len(names) == 1
        streams_named = f"stream{'' if one else 's'} {', '.join(sorted(names))}"
        if brokers:
            yield f"{streams_named} {'lacks its copy' if one else 'lack their copies'} on {brokers}"
        else:
            yield f"{streams_named} {'has' if one else 'have'} no leader"


def _peers(group: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield the other brokers in a group that its leader knows, and if each is online: it answers every second.

    A leader that was elected after a broker left never had contact with it. It reports this broker as not current, and
    silent for 0 s.
    """
    for peer in group.get("replicas") or []:
        if isinstance(peer, dict) and peer.get("name"):
            silent = peer["active"] if isinstance(peer.get("active"), int) else 0
            heard_of = bool(peer.get("current")) or silent > 0
            yield str(peer["name"]), not peer.get("offline") and heard_of and silent <= _LONGEST_SILENCE


def _all(streams: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for account in streams.get("account_details") or []:
        yield from account.get("stream_detail") or []


def _replicated(streams: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for stream in _all(streams):
        if isinstance(stream.get("cluster"), dict) and (stream.get("config") or {}).get("num_replicas", 1) > 1:
            yield stream
