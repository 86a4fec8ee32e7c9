# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders that the role copies, checks, expects and removes.

Each function takes the role's variables by their names. Paths that are empty name no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .network import certificate_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Given = Mapping[str, Any]

# The folders of priorities that a server creates in its spool
PRIORITIES = ("P0", "P1", "P2", "P3", "P4")
_REPOSITORY_FILES = (
    "/etc/apt/sources.list.d/choria.sources",
    "/etc/apt/preferences.d/choria",
    "/etc/yum.repos.d/choria.repo",
)
USER_DEFAULTS: dict[str, Any] = {"identity": "", "certificate": "", "key": "", "token": "", "seed": "", "settings": {}}


def users(given: Given) -> list[dict[str, Any]]:
    """Return the entries of choria_client_users with all of their fields.

    A user signs in with the files of the entry, or else with those that the role creates in choria_security_folder.
    """
    return [
        {**USER_DEFAULTS, **user, **_made_files(given, user), "identity": user.get("identity") or user["name"]}
        for user in given["choria_client_users"]
    ]


def _made_files(given: Given, user: Mapping[str, Any]) -> dict[str, str]:
    folder, name = given["choria_security_folder"], user.get("identity") or user["name"]
    if not folder or user.get("certificate") or user.get("token"):
        return {}
    path = f"{folder}/{name}"
    if given["choria_security_provider"] == "file":
        return {"certificate": f"{path}.pem", "key": f"{path}.key"}
    tokens = given["choria_security_provider"] == "choria"
    if tokens and name in [client["name"] for client in given["choria_security_clients"]]:
        return {"token": f"{path}.jwt", "seed": f"{path}.seed"}
    return {}


def given_files(given: Given) -> list[dict[str, str]]:
    """Return the files that have to be on the controller before the role starts, each with ``option`` and ``path``.

    Files to download are left out, and files that the role creates in choria_security_folder.
    """
    made = f"{given['choria_security_folder']}/" if given["choria_security_folder"] else None
    return [
        {"option": option, "path": path}
        for option, path in _named_files(given)
        if path and not path.startswith(("http://", "https://")) and not (made and path.startswith(made))
    ]


def _named_files(given: Given) -> Iterator[tuple[str, str]]:
    """Yield the files on the controller that variables name, as pairs of the option's name in messages and the path."""
    if given["choria_install_method"] == "archive":
        yield "choria_archive", given["choria_archive"]
    for name in ("tls_ca", "tls_certificate", "tls_key"):
        yield f"choria_{name}", given[f"choria_{name}"]
    for service in ("client", "broker", "server"):
        for name in (f"choria_{service}_token", f"choria_{service}_seed"):
            yield name, given[name]
    for path in given["choria_trusted_authorities"]:
        yield "choria_trusted_authorities", path
    for user in users(given):
        for file in given["_choria_user_files"]:
            yield f"choria_client_users, {user['name']}: {file['option']}", user[file["option"]]
    for agent in given["_choria_archives"] if given["choria_server"] else ():
        yield f"choria_machines, {agent['name']}: archive", agent["archive"]


def material(given: Given) -> dict[str, Any]:
    """Return the certificates and tokens to check on the controller, as ``material_problems`` takes them."""
    own = {
        "option": "choria_tls_certificate and choria_tls_key",
        "certificate": given["choria_tls_certificate"],
        "key": given["choria_tls_key"],
        "names": certificate_names(given),
    }
    of_users = [
        {
            "option": f"choria_client_users, {user['name']}",
            "certificate": user["certificate"],
            "key": user["key"],
            "names": [],
        }
        for user in users(given)
    ]
    tokens = [("server", ["choria_server"]), ("client", ["choria_client_id", "choria_server"])]
    if given["choria_broker"]:
        tokens.insert(0, ("broker", ["choria_server"]))
    return {
        "authority": given["choria_tls_ca"],
        "trusted": given["choria_trusted_authorities"],
        "pairs": [own, *of_users],
        "tokens": [
            {
                "option": f"choria_{service}_token",
                "token": given[f"choria_{service}_token"],
                "seed": given[f"choria_{service}_seed"],
                "purposes": purposes,
            }
            for service, purposes in tokens
            if given["choria_security_provider"] == "choria"
        ],
    }


def expected_files(given: Given) -> list[str]:
    """Return the files that have to be on the host already, since no variable gives them to the role."""
    provider = given["choria_security_provider"]
    if provider == "puppet":
        folder, name = given["choria_puppet_ssldir"], given["choria_identity"]
        return [f"{folder}/certs/ca.pem", f"{folder}/certs/{name}.pem", f"{folder}/private_keys/{name}.pem"]
    paths = [] if given["choria_tls_ca"] else [given["choria_tls_ca_path"]]
    if not given["choria_tls_certificate"] and (given["choria_broker"] or provider != "choria"):
        paths += [given["choria_tls_certificate_path"], given["choria_tls_key_path"]]
    return paths


def folders(given: Given) -> list[dict[str, Any]]:
    """Return the folders that the role gives to one service alone, except those below Choria's own folders.

    Each has ``option``, ``path``, ``own`` (the names that the role creates in it, an empty list if they can be any) and
    ``owners`` (the users that may own it).
    """
    store = given["choria_stream_store"] if given["choria_broker"] else ""
    listed = [_folder("choria_stream_store", store, "jetstream", owners=("root", given["_choria_broker_user"]))]
    if given["choria_server"]:
        listed.append(_folder("choria_machine_store", given["choria_machine_store"]))
        listed.append(_folder("choria_submission_spool", given["choria_submission_spool"], *PRIORITIES))
    listed += [_folder(f"choria_backups, {backup['name']}: path", backup["path"]) for backup in given["choria_backups"]]
    return [
        folder
        for folder in listed
        if folder["path"] and not folder["path"].startswith(("/etc/choria/", "/var/lib/choria/"))
    ]


def _folder(option: str, path: str, *own: str, owners: tuple[str, ...] = ("root",)) -> dict[str, Any]:
    return {"option": option, "path": path, "own": list(own), "owners": list(owners)}


def calendars(given: Given) -> list[dict[str, str]]:
    """Return the schedules of timers, each with ``on_calendar`` and the ``option`` that gives it."""
    jobs = ((f"choria_governed_jobs, {job['name']}", job["on_calendar"]) for job in given["_choria_jobs_wanted"])
    backups = ((f"choria_backups, {one['name']}", one["on_calendar"]) for one in given["choria_backups"])
    return [{"option": option, "on_calendar": calendar} for option, calendar in (*jobs, *backups) if calendar]


def own_files(given: Given) -> list[str]:
    """Return the files on a host that belong to no service. The role removes them with choria_state=absent."""
    folder, method = given["choria_config_folder"], given["choria_install_method"]
    return [
        *(f"{folder}/{name}" for name in ("client.conf", "client.jwt", "client.seed", "facts.json")),
        *(f"{folder}/policies/{name}.policy" for name in given["choria_policies"]),
        *(_tls_files(given) if given["choria_tls_ca"] else ()),
        given["choria_status_file"],
        given["_choria_archives_folder"],
        *((given["_choria_program"], given["_choria_unpack_folder"]) if method == "archive" else ()),
        *(_REPOSITORY_FILES if method == "package" else ()),
    ]


def services(given: Given) -> list[dict[str, Any]]:
    """Return the services to deploy on this host, each with ``name``, ``unit``, ``drop_in`` and ``files``.

    ``files`` are all that the service reads as it starts.
    """
    listed = []
    for name in (name for name in given["_choria_files"] if name != "client"):
        unit = f"/etc/systemd/system/choria-{name}.service"
        own = [f"{given['choria_config_folder']}/{name}.{suffix}" for suffix in ("conf", "jwt", "seed")]
        listed.append(
            {
                "name": name,
                "unit": f"choria-{name}.service",
                "drop_in": f"{unit}.d/ansible.conf",
                "files": [given["_choria_program"], unit, f"{unit}.d/ansible.conf", *own, *_tls_files(given)],
            }
        )
    return listed


def _tls_files(given: Given) -> list[str]:
    return [given[f"choria_tls_{name}_path"] for name in ("ca", "certificate", "key")]
