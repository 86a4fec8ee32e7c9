# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the variables of the role before it changes anything on a host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.choria.streams.plugins.module_utils import _errors
from ansible_collections.choria.streams.plugins.module_utils._choria.signing import is_key
from ansible_collections.choria.streams.plugins.module_utils._module_document import items_of
from ansible_collections.choria.streams.plugins.module_utils._options.names import GOVERNOR_NAME
from ansible_collections.choria.streams.plugins.module_utils._resources.document import model

from . import values
from .brokers import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Given = Mapping[str, Any]
    Rule = Callable[[Given, str, str], Iterator[str]]

SUPPORTED = ("Debian", "RedHat")
_LONG = 10 * 365 * 86400

_NAME = values.text(r"[A-Za-z0-9_-]+", "a name of letters, digits, _ and -")
_IDENTITY = values.text(r"[A-Za-z0-9][A-Za-z0-9._:@=+-]*", "a name without spaces, such as web1.example.net")
_USER = values.text(r"[A-Za-z_][A-Za-z0-9_.-]*", "the name of a user or group")
_TOKEN = values.text(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*", "letters, digits and . + ~ : _ -", empty=True)
_JOB = values.text(r"[A-Za-z][A-Za-z0-9_-]*", "letters, digits, _ and -, beginning with a letter: it names files")
_WAIT = values.text(r"([0-9]+(\.[0-9]+)?(ms|[smhdwMyY]))+", "a duration with its unit, such as 90s, 5m or 1h30m")
_VARIABLE = values.text(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable, of letters, digits and _")
_PORT, _OPTIONAL_PORT = values.number(1, 65535), values.number(0, 65535)
_SECONDS = values.number(1, 86400)
_RETENTION = values.text(r"[0-9]{1,9}[smhdw]", "a number and one of s, m, h, d or w, such as 7d")

_SERVICES = ("broker", "server", "client")
_SWITCHES = (*_SERVICES, "purge_data", "machines_purge", "resources_prune")
_TLS_PATHS = ("tls_ca_path", "tls_certificate_path", "tls_key_path")
# On the controller
_FILES = (
    *("archive", "security_folder", "tls_ca", "tls_certificate", "tls_key"),
    *(f"{service}_{name}" for service in _SERVICES for name in ("token", "seed")),
)

KINDS: dict[str, values.Kind] = {
    **{f"choria_{name}": values.boolean for name in _SWITCHES},
    **{f"choria_{name}_settings": values.mapping(values.anything, values.anything) for name in _SERVICES},
    **{f"choria_{name}": values.optional(values.one_line) for name in _FILES},
    "choria_brokers_group": _TOKEN,
    "choria_broker_hosts": values.each(values.host),
    "choria_identity": _IDENTITY,
    "choria_collectives": values.each(_NAME),
    "choria_version": _TOKEN,
    "choria_archive_checksum": values.optional(values.checksum),
    "choria_archive_member": values.member,
    "choria_architecture": _TOKEN,
    "choria_repository": values.url("https?", "file", "mirror"),
    "choria_repository_suite": values.text(r"[A-Za-z0-9._/-]+", "the suite of an apt repository, such as stable or ./"),
    "choria_repository_component": _TOKEN,
    "choria_repository_key": values.optional(values.url("https?", "file")),
    "choria_repository_key_checksum": values.optional(values.checksum),
    **dict.fromkeys(("choria_security_validity", "choria_security_renew_before"), values.duration),
    "choria_security_names": values.each(values.host),
    **{f"choria_{name}": values.own_file for name in (*_TLS_PATHS, "status_file")},
    "choria_puppet_ssldir": values.path,
    "choria_trusted_authorities": values.each(values.one_line),
    "choria_issuer": _NAME,
    "choria_trusted_issuers": values.mapping(
        _NAME, values.text(r"[0-9a-fA-F]{64}", "the public key of an issuer, 64 hexadecimal digits")
    ),
    **{f"choria_{name}_port": _PORT for name in ("broker", "broker_peer", "broker_stats")},
    "choria_firewall_peers": values.each(values.network),
    "choria_broker_peer_address": values.optional(values.host),
    **{f"choria_{name}_port": _OPTIONAL_PORT for name in ("leafnode", "gateway", "websocket")},
    "choria_broker_system_user": _NAME,
    "choria_broker_system_password": values.optional(values.secret),
    "choria_broker_listen_address": values.address,
    "choria_broker_open_files": values.number(1, 1 << 30),
    "choria_broker_memory": values.text(
        r"[0-9]+(\.[0-9]+)?[KMGT]?|[0-9]{1,2}%|100%|infinity", "memory as systemd writes it, such as 4G", empty=True
    ),
    "choria_restart_timeout": _SECONDS,
    "choria_leafnode_remotes": values.mapping(_NAME, values.anything),
    "choria_gateway_name": _NAME,
    "choria_gateway_remotes": values.mapping(_NAME, values.anything),
    "choria_federation_cluster": values.optional(_NAME),
    "choria_federation_hosts": values.each(values.host_port),
    "choria_adapters": values.mapping(_NAME, values.anything),
    "choria_stream_store": values.own_folder,
    "choria_stream_replicas": values.number(1, 5),
    "choria_stream_retention": values.mapping(
        values.text("|".join(STREAMS), f"one of {', '.join(STREAMS)}"), _RETENTION
    ),
    "choria_server_batch": values.number(1, 1_000_000),
    "choria_facts": values.mapping(values.anything, values.anything),
    "choria_registration": values.each(_NAME),
    "choria_registration_interval": values.number(1, _LONG),
    "choria_policies": values.mapping(_VARIABLE, values.document),
    "choria_submission_spool": values.optional(values.own_folder),
    "choria_submission_size": values.number(1, 1_000_000_000),
    "choria_submission_group": _USER,
    "choria_machine_store": values.optional(values.own_folder),
    "choria_machines_keep": values.each(values.one_line),
    "choria_resources_owner": values.one_line,
    "choria_other_keys": values.each(values.text(r"[A-Za-z0-9_.*-]+", "a key of Choria's files")),
    "choria_config_folder": values.config_folder,
}
# The fields of entries of lists: the list, what names an entry, and the kinds of its fields
ENTRIES: dict[str, tuple[str, dict[str, values.Kind]]] = {
    "choria_governed_jobs": (
        "name",
        {
            "name": _JOB,
            "user": _USER,
            "max_wait": _WAIT,
            "max_per_period": values.boolean,
            "environment": values.mapping(_VARIABLE, values.plain),
            "config": values.path,
            "on_calendar": values.optional(values.one_line),
        },
    ),
    "choria_backups": (
        "name",
        {
            "name": _JOB,
            "streams": values.each(_NAME),
            "path": values.own_folder,
            "on_calendar": values.one_line,
            "keep": values.number(1, 10_000),
            "config": values.path,
        },
    ),
    "choria_machines": (
        "name",
        {
            "name": _NAME,
            "archive_checksum": values.checksum,
            "remote_src": values.boolean,
            "program": values.optional(values.path),
        },
    ),
    "choria_client_users": ("name", {"name": _USER, "identity": values.optional(_IDENTITY)}),
    "choria_security_clients": ("name", {"name": _IDENTITY}),
}
# Variables that rules need besides those above
_OTHERS = ("install_method", "security_provider", "issuer_public_key", "keys_mask")
NEEDED = {*KINDS, *ENTRIES, *(f"choria_{name}" for name in (*_OTHERS, *(kind.option for kind in model.KINDS)))}
_PORTS = ("broker_port", "broker_peer_port", "broker_stats_port", "leafnode_port", "gateway_port", "websocket_port")
_FOLDERS = ("stream_store", "submission_spool", "machine_store", "config_folder")
_REMOVED = (*_FOLDERS, "governed_jobs", "policies", "purge_data", "status_file", *_TLS_PATHS)


def problems(given: Given, host: str, os_family: str) -> list[str]:
    """Return one sentence for each fault of the role's variables, an empty list if there is none.

    ``given`` has variables of the role with their values, ``host`` is the inventory's name of the host, ``os_family``
    is Ansible's fact. Rules between variables are checked where all are given, and each is right by itself.
    """
    reasons = _wrong_variables(given)
    if not reasons and given.keys() >= NEEDED:
        for rule in _RULES:
            reasons += rule(given, host, os_family)
    return reasons


def job_problems(given: Given) -> list[str]:
    """Return one sentence for each fault of choria_governed_jobs, for the entry point that deploys jobs alone."""
    return _problems_of(given, _jobs, "choria_governed_jobs", "choria_config_folder", "choria_security_provider")


def removal_problems(given: Given) -> list[str]:
    """Return one sentence for each fault of the variables that name what choria_state=absent removes."""
    return _problems_of(given, _folders, *(f"choria_{name}" for name in _REMOVED))


def machine_problems(given: Given) -> list[str]:
    """Return one sentence for each fault of choria_machines, for the entry point that deploys agents alone."""
    return _problems_of(given, _machines, "choria_machines", "choria_machines_keep", "choria_machine_store")


def _problems_of(given: Given, rule: Rule, *names: str) -> list[str]:
    variables = {name: given[name] for name in names}
    return _wrong_variables(variables) or list(rule(variables, "", ""))


def _wrong_variables(given: Given) -> list[str]:
    # A key of YAML with nothing behind it: tasks ask whether a variable is empty, which null is not
    null = [name for name in sorted(NEEDED) if name in given and given[name] is None]
    if null:
        return [f"{name} is null: give a value, or leave it out for its default." for name in null]
    reasons = list(_wrong_values(given))
    for name, (label, kinds) in ENTRIES.items():
        if name in given:
            reasons += _wrong_entries(name, given[name], label, kinds)
    return reasons


def _wrong_values(given: Given) -> Iterator[str]:
    for name in [name for name in KINDS if name in given]:
        try:
            KINDS[name](given[name])
        except ValueError as error:
            yield f"{name} {error}."


def _wrong_entries(name: str, entries: Any, label: str, kinds: Mapping[str, values.Kind]) -> Iterator[str]:
    if not isinstance(entries, list):
        yield f"{name} is {values.shown(entries)}: give a list."
        return
    names = set[str]()
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or label not in entry:
            yield f"{name}, entry {index + 1}: give a dict with {label}."
            continue
        for field, kind in kinds.items():
            try:
                # A field that is left out takes its default
                kind(entry[field]) if field in entry else None
            except ValueError as error:
                yield f"{name}, {values.shown(entry[label])}: {field} {error}."
        if str(entry[label]) in names:
            yield f"{name} has {values.shown(entry[label])} twice: give each entry a {label} of its own."
        names.add(str(entry[label]))


def _platform(given: Given, host: str, os_family: str) -> Iterator[str]:
    if os_family not in SUPPORTED and given["choria_install_method"] != "none":
        yield (
            f"The role installs on {' and '.join(SUPPORTED)} alone, and {host} is {os_family or 'unknown'}: install "
            "Choria there yourself, and set choria_install_method: none."
        )


def _brokers(given: Given, host: str, os_family: str) -> Iterator[str]:
    brokers, replicas = given["choria_broker_hosts"], int(given["choria_stream_replicas"])
    count = len(brokers)
    if not count:
        yield (
            f"There are no brokers: put hosts into the inventory group {given['choria_brokers_group']}, or name them "
            "in choria_broker_hosts."
        )
        return
    if count % 2 == 0:
        yield (
            f"choria_broker_hosts has {count} brokers, and an even cluster can lose no more of them than the odd one "
            f"below it: use {count - 1} or {count + 1}."
        )
    if replicas > min(count, 5):
        yield f"choria_stream_replicas is {replicas}, but {count} broker(s) can hold {min(count, 5)} copies at most."
    if int(given["choria_gateway_port"]) and count == 1:
        yield "choria_gateway_port is set, but only a cluster joins others by gateways: use 3 brokers."
    if given["choria_broker"] and not {host, given["choria_identity"]} & set(brokers):
        yield f"{host} is a broker, but choria_broker_hosts does not name it: add it, or set choria_broker: false."


def _ports(given: Given, host: str, os_family: str) -> Iterator[str]:
    users: dict[int, str] = {}
    for name in (f"choria_{port}" for port in _PORTS):
        port = int(given[name])
        if port and port in users:
            yield f"{name} is {port}, and so is {users[port]}: give each a port of its own."
        users.setdefault(port, name)


def _folders(given: Given, host: str, os_family: str) -> Iterator[str]:
    users: dict[str, str] = {}
    for name in (f"choria_{folder}" for folder in _FOLDERS):
        folder = given[name]
        if folder and folder in users:
            yield f"{name} is {folder}, and so is {users[folder]}: give each a folder of its own."
        users.setdefault(folder, name)
    for name in ("choria_stream_store", "choria_submission_spool", "choria_machine_store"):
        inside = [
            other
            for folder, other in users.items()
            if other != name and given[name] and folder.startswith(f"{given[name]}/")
        ]
        if inside:
            yield f"{name} is {given[name]}, and {inside[0]} is inside of it: give each a folder of its own."


def _archive(given: Given, host: str, os_family: str) -> Iterator[str]:
    archive = given["choria_archive"]
    if given["choria_install_method"] == "archive" and not archive:
        yield "choria_install_method is archive, but choria_archive names none: give a path on the controller or a URL."
    if archive.startswith(("http://", "https://")) and not given["choria_archive_checksum"]:
        yield "choria_archive is a URL: give choria_archive_checksum too, so that what is downloaded can be checked."


def _security(given: Given, host: str, os_family: str) -> Iterator[str]:
    tokens = given["choria_security_provider"] == "choria"
    public_key = str(given["choria_issuer_public_key"])
    if tokens and not given["choria_security_folder"] and not is_key(public_key):
        yield (
            "choria_security_provider is choria, but choria_issuer_public_key is not the public key of an issuer, "
            "which has 64 hexadecimal digits; or let choria_security_folder make one."
        )
    if given["choria_trusted_authorities"] and not given["choria_tls_ca"]:
        yield "choria_trusted_authorities needs choria_tls_ca: give the certificates of all authorities to the role."
    if given["choria_issuer"] in given["choria_trusted_issuers"]:
        yield f"choria_trusted_issuers has {given['choria_issuer']}, which is choria_issuer: name only others."
    for user in given["choria_client_users"]:
        for one, other in (("certificate", "key"), ("token", "seed")):
            if bool(user.get(one)) != bool(user.get(other)):
                yield f"choria_client_users, {user['name']}: give {one} and {other} together, or neither."


def _machines(given: Given, host: str, os_family: str) -> Iterator[str]:
    for machine in given["choria_machines"]:
        copied = machine.get("archive") and not machine.get("remote_src") and machine.get("state") != "absent"
        if copied and not machine.get("archive_checksum"):
            yield (
                f"choria_machines, {machine['name']}: an archive needs archive_checksum, so that the host can check "
                "what it got."
            )


def _jobs(given: Given, host: str, os_family: str) -> Iterator[str]:
    tokens = given["choria_security_provider"] == "choria"
    client = f"{given['choria_config_folder']}/client.conf"
    for job in given["choria_governed_jobs"]:
        if job.get("state") == "absent":
            continue
        where = f"choria_governed_jobs, {job['name']}:"
        if bool(job.get("schedule")) == bool(job.get("on_calendar")):
            yield f"{where} give schedule, for cron, or on_calendar, for a timer of systemd, and not both."
        for field, kind in (
            ("command", values.command),
            ("governor", _governor),
            ("schedule", values.optional(values.cron)),
        ):
            try:
                kind(job.get(field, ""))
            except ValueError as error:
                yield f"{where} {field} {error}."
        if tokens and job.get("config") == client:
            yield (
                f"{where} config is that of a client, and 'choria governor run' takes only the token of a server: "
                "leave config out."
            )


def _backups(given: Given, host: str, os_family: str) -> Iterator[str]:
    for backup in given["choria_backups"]:
        where = f"choria_backups, {backup['name']}:"
        missing = [field for field in ("streams", "path", "on_calendar") if not backup.get(field)]
        if missing:
            yield f"{where} give {' and '.join(missing)}."
            continue
        if not given["choria_client"] and not backup.get("config"):
            yield f"{where} it signs in as a client: set choria_client: true, or give the path of a client's config."
        for name in (f"choria_{folder}" for folder in _FOLDERS[:-1]):
            one, other = f"{backup['path']}/", f"{given[name]}/"
            if given[name] and (one.startswith(other) or other.startswith(one)):
                yield f"{where} path is {backup['path']}, and {name} is {given[name]}: give each a folder of its own."


def _governor(value: Any) -> None:
    try:
        GOVERNOR_NAME.to_wire(value)
    except ValueError:
        raise ValueError(
            f"is {values.shown(value)}: give the name of a governor, of letters, digits, _ and -"
        ) from None


def _resources(given: Given, host: str, os_family: str) -> Iterator[str]:
    options: dict[str, Any] = {row.option: row.argument().get("default") for row in model.SPEC}
    options.update(
        owner=given["choria_resources_owner"], prune=given["choria_resources_prune"], mask=given["choria_keys_mask"]
    )
    options.update((kind.option, given[f"choria_{kind.option}"]) for kind in model.KINDS)
    for kind in model.KINDS:
        if not all(isinstance(item, dict) for item in options[kind.option]):
            yield f"choria_{kind.option}: give a list of dicts."
            return
    try:
        model.Document.of(options, items_of(model.KINDS, options))
    except model.Problems as error:
        yield from (f"choria_{problem['message']}" for problem in error.failure["problems"])
    except _errors.StreamsError as error:
        yield error.message


_RULES: tuple[Rule, ...] = (
    _platform,
    _brokers,
    _ports,
    _folders,
    _archive,
    _security,
    _machines,
    _jobs,
    _backups,
    _resources,
)
