# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read connection options from a Choria file, or from a context of the nats CLI.

Both are converted to a dict of connection options, so that all later checks are the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import _errors
from .._choria.config import ChoriaConfig, find_config, read_config
from .._options import connection, untrusted

_SRV = ("_mcollective-server._tcp", "_x-puppet-mcollective._tcp")

# The nats CLI's name of each option, jsm.go natscontext/context.go
_CONTEXT = {
    "url": "servers",
    "user": "user",
    "password": "password",
    "token": "token",
    "creds": "creds",
    "ca": "ca_path",
    "cert": "client_cert",
    "key": "client_key",
    "jetstream_domain": "domain",
    "jetstream_api_prefix": "api_prefix",
    "inbox_prefix": "inbox_prefix",
    "tls_first": "tls_first",
}
_CONTEXT_UNKNOWN = ("nsc", "user_jwt", "socks_proxy")


def from_choria(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the given Choria file, or of the user's own file if no servers are given."""
    path = given["choria_config"] or ("" if given["servers"] or given["context"] else find_config())
    return choria_options(read_config(path), with_servers=not given["servers"]) if path else {}


def choria_options(config: ChoriaConfig, *, with_servers: bool = True) -> dict[str, Any]:
    """Return the connection options of a Choria file. Raises OptionError if it contradicts itself."""
    if config.main_collective not in config.collectives:
        raise _errors.OptionError(
            "choria_config",
            f"main_collective '{config.main_collective}' in {config.path} is not one of its collectives: correct it.",
        )
    options: dict[str, Any] = {
        "choria_config": config.path,
        "collectives": config.collectives,
        "collective": config.main_collective,
        "identity": config.get("identity"),
        "user": config.get("plugin.nats.user"),
        "password": config.get("plugin.nats.pass"),
        "creds": config.file("plugin.nats.credentials"),
        **_security(config),
    }
    if with_servers:
        options["servers"] = _servers(config)
    return {name: value for name, value in options.items() if value}


def from_context(name: str | None) -> dict[str, Any]:
    """Return the options in a context of the nats CLI, by its name."""
    if not name:
        return {}
    base = Path(os.path.expanduser(os.environ.get("XDG_CONFIG_HOME") or "~/.config"))
    path = base / "nats" / "context" / f"{name}.json"
    try:
        content = untrusted.load_object(untrusted.read_bytes(path, untrusted.MOST_CONFIG))
    except OSError as error:
        raise _errors.OptionError(
            "context", f"'{name}' is not known, {path} can't be read ({error.strerror}): see 'nats context ls'."
        ) from error
    except ValueError as error:
        raise _errors.OptionError("context", f"{path} is not a context of the nats CLI: it {error}.") from None
    for key in content.keys() & {*_CONTEXT, *_CONTEXT_UNKNOWN, "nkey"}:
        if not isinstance(content[key], bool if key == "tls_first" else str) and content[key] is not None:
            kind = "true or false" if key == "tls_first" else "text"
            raise _errors.OptionError(
                "context", f"{path} has something else than {kind} for {key}: correct it, or create the context again."
            )
    unknown = [key for key in _CONTEXT_UNKNOWN if content.get(key)]
    if unknown:
        raise _errors.OptionError(
            "context", f"'{name}' uses {unknown[0]}, which is not supported here: use creds, nkey or a user."
        )
    options = {option: content[key] for key, option in _CONTEXT.items() if content.get(key)}
    if content.get("nkey"):
        options["nkey_seed"] = _seed_in(content["nkey"], name)
    if "servers" in options:
        options["servers"] = [options["servers"]]
    return options


def _security(config: ChoriaConfig) -> dict[str, Any]:
    """Return the options of a file's security provider. TLS is always required, since brokers always offer it."""
    if config.provider == "file":
        return {"tls": connection.REQUIRED, **_files(config, "plugin.security.file", ("ca", "certificate", "key"))}
    if config.provider == "choria":
        files = _files(config, "plugin.security.choria", ("ca", "certificate", "key"))
        return {"tls": connection.REQUIRED, "jwt": _token_file(config), "seed": _seed_file(config), **files}
    if config.provider == "puppet":
        return {"tls": connection.REQUIRED, **_puppet(config)}
    raise _errors.OptionError(
        "choria_config",
        f"{config.path} uses the security provider '{config.provider}', which is not supported here: "
        "use file, puppet or choria.",
    )


def _files(config: ChoriaConfig, prefix: str, names: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("ca_path", "client_cert", "client_key"), (config.file(f"{prefix}.{name}") for name in names)))


def _token_file(config: ChoriaConfig) -> str:
    path = config.file("plugin.security.choria.token_file")
    if not path:
        raise _errors.OptionError(
            "choria_config", f"{config.path} sets no plugin.security.choria.token_file: name the token there."
        )
    return path


def _seed_file(config: ChoriaConfig) -> str:
    # As in Choria, the seed lies beside the token where the file does not say
    path = config.file("plugin.security.choria.seed_file")
    return path or f"{os.path.splitext(_token_file(config))[0]}.key"


def _puppet(config: ChoriaConfig) -> dict[str, str]:
    """Return Puppet's certificates. Choria names a node's by its identity, a user's ``<user>.mcollective``."""
    folder = Path(config.file("plugin.choria.ssldir") or _puppet_folder())
    user = f"{os.environ.get('USER') or os.environ.get('LOGNAME') or 'root'}.mcollective"
    names = [config.identity, user] if config.is_node else [user, config.identity]
    override = os.environ.get("MCOLLECTIVE_CERTNAME")
    name = override or next((name for name in names if (folder / "certs" / f"{name}.pem").exists()), names[0])
    return {
        "ca_path": str(folder / "certs" / "ca.pem"),
        "client_cert": str(folder / "certs" / f"{name}.pem"),
        "client_key": str(folder / "private_keys" / f"{name}.pem"),
    }


def _puppet_folder() -> str:
    return "/etc/puppetlabs/puppet/ssl" if os.geteuid() == 0 else os.path.expanduser("~/.puppetlabs/etc/puppet/ssl")


def _servers(config: ChoriaConfig) -> list[str]:
    """Return the brokers of the file, or those of the domain's SRV records, or puppet:4222."""
    named = config.parts("plugin.choria.middleware_hosts")
    if named:
        return named
    if config.boolean("plugin.choria.use_srv", default=True):
        brokers = _srv(config)
        if brokers:
            return brokers
    return ["nats://puppet:4222"]


def _srv(config: ChoriaConfig) -> list[str]:
    domain = config.get("plugin.choria.srv_domain") or config.identity.partition(".")[2]
    if not domain:
        return []
    try:
        import dns.exception
        import dns.resolver
    except ImportError as error:
        raise _errors.OptionError(
            "choria_config",
            f"{config.path} names no plugin.choria.middleware_hosts, and to look for SRV records in {domain} the "
            "Python library dnspython is needed: install it, name the brokers, or set plugin.choria.use_srv = false.",
        ) from error
    for record in _SRV:
        try:
            answers = dns.resolver.resolve(f"{record}.{domain}", "SRV", lifetime=5)
        except dns.exception.DNSException:
            continue
        ordered = sorted(answers, key=lambda answer: (answer.priority, -answer.weight))
        return [f"nats://{str(answer.target).rstrip('.')}:{answer.port}" for answer in ordered]
    return []


def _seed_in(path: str, context: str) -> str:
    try:
        return untrusted.read_text(os.path.expanduser(path)).strip()
    except OSError as error:
        raise _errors.OptionError(
            "context", f"'{context}' names the nkey file {path}, which can't be read ({error.strerror})."
        ) from error
