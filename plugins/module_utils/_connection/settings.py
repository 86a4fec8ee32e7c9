# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings: the connection options, checked without opening a socket."""

from __future__ import annotations

import os
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from .. import _errors
from .._options import connection, quantities, untrusted
from .servers import without_credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

    from .._choria.tokens import Token

_CREDS = re.compile(rb"NATS USER JWT-+\s+[\w-]+\.[\w-]+\.[\w-]+\s.*USER NKEY SEED-+\s+SU[A-Z2-7]{56}\s", re.DOTALL)
_SUBJECT = re.compile(r"[^\s.*>]+(\.[^\s.*>]+)*")


class Settings(NamedTuple):
    """All that is needed to connect. It is hashable, so that connections can be shared, and its repr has no secrets.

    ``servers`` are URLs without user and password, tried in order. Durations are in seconds.
    """

    servers: tuple[str, ...] = tuple(connection.DEFAULT_SERVERS)
    user: str = ""
    password: str = ""
    token: str = ""
    creds: str = ""
    nkey_seed: str = ""
    jwt: Token | None = None
    seed: str = ""
    ca_path: str = ""
    client_cert: str = ""
    client_key: str = ""
    validate_certs: bool = True
    tls: str = connection.PREFERRED
    tls_first: bool = False
    connect_timeout: float = 5.0
    timeout: float = 10.0
    api: str = connection.DEFAULT_API
    inbox_prefix: str = connection.DEFAULT_INBOX
    collective: str = connection.DEFAULT_COLLECTIVE
    identity: str = ""
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Settings(servers={self.servers!r})"

    @classmethod
    def from_options(
        cls, get_option: Callable[[str], Any], origins: Mapping[str, int] = MappingProxyType({})
    ) -> Settings:
        """Return the settings from a source of options. Raises OptionError with the option, the fault and the remedy.

        Options win over the Choria file, the file over the nats CLI's context, and the context over defaults.
        ``origins`` is as in ``connection.chosen``.
        """
        given = connection.chosen({row.option: get_option(row.option) for row in connection.CONNECTION}, origins)
        _check_rules(given)
        options, source = _layered(given)
        try:
            return cls._from_layers(options)
        except _errors.OptionError as error:
            if source and given.get(error.failure["option"]) is None:
                raise _errors.OptionError(
                    error.failure["option"], f"{error.reason} (It comes from {source}.)"
                ) from error
            raise

    @classmethod
    def _from_layers(cls, options: dict[str, Any]) -> Settings:
        servers, in_url = without_credentials(options["servers"] or connection.DEFAULT_SERVERS)
        if not any(options[name] for name in connection.CREDENTIALS):
            options = {**options, **in_url}
        jwt, seed = _signing(options)
        collective = _word("collective", options["collective"] or connection.DEFAULT_COLLECTIVE)
        inbox = options["inbox_prefix"] or (jwt.inbox(collective) if jwt else connection.DEFAULT_INBOX)
        settings = cls(
            servers=servers,
            user=options["user"] or "",
            password=options["password"] or "",
            token=options["token"] or "",
            creds=_creds(options["creds"]),
            nkey_seed=_nkey_seed(options["nkey_seed"]),
            jwt=jwt,
            seed=seed,
            ca_path=_readable("ca_path", options["ca_path"]),
            client_cert=_readable("client_cert", options["client_cert"]),
            client_key=_readable("client_key", options["client_key"]),
            validate_certs=bool(options["validate_certs"]),
            tls=_tls(options, servers),
            tls_first=bool(options["tls_first"]),
            connect_timeout=_timeout("connect_timeout", options["connect_timeout"]),
            timeout=_timeout("timeout", options["timeout"]),
            api=_api(options["domain"], options["api_prefix"], jwt),
            inbox_prefix=_subject("inbox_prefix", inbox),
            collective=collective,
            identity=options["identity"] or "",
            warnings=(*_open_to_others(options), *_not_validated(options)),
        )
        if settings.ca_path or settings.client_cert:
            settings._context_of_files()
        return settings

    @property
    def websocket(self) -> bool:
        """True if the servers are reached over websockets."""
        return urlsplit(self.servers[0]).scheme in ("ws", "wss")

    def tls_context(self) -> ssl.SSLContext:
        """Return the TLS context of these settings. Raises OptionError if a file is not what its option requires."""
        context = self._context_of_files()
        if not self.validate_certs:
            import ssl

            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif not self.ca_path and not context.cert_store_stats()["x509_ca"]:
            context.load_default_certs()  # takes 30 ms
        return context

    def _context_of_files(self) -> ssl.SSLContext:
        """Return a context with the authorities of ``ca_path`` and our certificate, without the system's authorities.

        It is made once in a process, and again if a file has changed.
        """
        paths = (self.ca_path, self.client_cert, self.client_key)
        key = (self.validate_certs, *((path, _version(path)) for path in paths))
        if key not in _contexts:
            context = self._new_context()
            _contexts.clear()
            _contexts[key] = context
        return _contexts[key]

    def _new_context(self) -> ssl.SSLContext:
        import ssl  # which takes several MiB of a process that may never connect, as one that only checks its options

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Python 3.13 began to refuse certificates without an authority key identifier and the like, which many own CAs
        # leave out. Choria and older Pythons take them, and a site must not depend on the Python of each host. Each
        # certificate in the file is an authority, as with Go and Python 3.13.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0)
        if self.ca_path:
            try:
                untrusted.check_pem(self.ca_path)
                context.load_verify_locations(cafile=self.ca_path)
            except (ssl.SSLError, OSError) as error:
                raise _errors.OptionError(
                    "ca_path", f"{self.ca_path} does not hold PEM certificates: give the CA's PEM file."
                ) from error
        if self.client_cert:
            try:
                untrusted.check_pem(self.client_cert, self.client_key)
                context.load_cert_chain(self.client_cert, self.client_key, password=_no_passphrase)
            except (ssl.SSLError, OSError, ValueError) as error:
                raise _errors.OptionError("client_cert", self._chain_problem(error)) from error
        return context

    def _chain_problem(self, error: Exception) -> str:
        reason = getattr(error, "reason", "") or ""
        if "MISMATCH" in reason:
            return f"{self.client_cert} and client_key {self.client_key} do not belong together: give its own key."
        if isinstance(error, ValueError):
            return f"client_key {self.client_key} is protected by a passphrase: give a key without one."
        return f"{self.client_cert} must hold a certificate and client_key {self.client_key} its private key, as PEM."


_contexts: dict[tuple[Any, ...], ssl.SSLContext] = {}


def _version(path: str) -> tuple[int, ...]:
    """Return numbers of a file that change when it is replaced or written."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _layered(given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the options over the Choria file over the context, and the origin of the lower ones.

    Credentials of a higher layer replace all credentials of a lower one.
    """
    if given["servers"] and not given["choria_config"] and not given["context"]:
        return given, ""
    from .sources import from_choria, from_context

    context, choria = from_context(given["context"]), from_choria(given)
    if given["tls"] == connection.OFF:
        context, choria = _without_tls(context), _without_tls(choria)
    merged: dict[str, Any] = dict.fromkeys(given)
    for layer in (context, choria, {name: value for name, value in given.items() if value is not None}):
        for group in (connection.CREDENTIALS, connection.TLS_PAIR):
            if any(layer.get(name) for name in group):
                merged.update(dict.fromkeys(group))
        merged.update(layer)
    sources = [f"choria_config {choria['choria_config']}"] if choria else []
    if context:
        sources.append(f"context {given['context']}")
    collectives = choria.get("collectives")
    if collectives and merged["collective"] not in collectives:
        raise _errors.OptionError(
            "collective",
            f"'{merged['collective']}' is not one of the collectives in {choria['choria_config']}: "
            f"use {' or '.join(collectives)}.",
        )
    return merged, " or ".join(sources)


def _without_tls(layer: dict[str, Any]) -> dict[str, Any]:
    names = ("tls", "tls_first", "ca_path", *connection.TLS_PAIR)
    return {name: value for name, value in layer.items() if name not in names}


def _tls(options: Mapping[str, Any], servers: Iterable[str]) -> str:
    """Return how to use TLS: the option's value, or what other options imply. Raises OptionError if they contradict."""
    schemes = {urlsplit(server).scheme for server in servers}
    secure = sorted(f"{scheme}:// in servers" for scheme in schemes & {"tls", "wss"})
    asking = secure + [name for name in ("ca_path", "client_cert", "tls_first") if options[name]]
    chosen = str(options["tls"] or "")
    if chosen == connection.OFF and asking:
        raise _errors.OptionError("tls", f"off can't be given together with {asking[0]}: leave out one of them.")
    if chosen == connection.PREFERRED and secure:
        raise _errors.OptionError("tls", f"preferred can't be given together with {secure[0]}: leave it out.")
    if not chosen:
        chosen = connection.REQUIRED if asking or options["jwt"] else connection.PREFERRED
    if chosen == connection.REQUIRED and "ws" in schemes:
        why = (asking or ["jwt" if options["jwt"] and not options["tls"] else "tls: required"])[0]
        raise _errors.OptionError("servers", f"ws:// goes without TLS, which {why} asks for: write wss://.")
    return chosen


def _not_validated(options: Mapping[str, Any]) -> tuple[str, ...]:
    if options["validate_certs"] or options["tls"] == connection.OFF:
        return ()
    return (
        "validate_certs: false means that nobody knows which server gets the credentials and the data: "
        "give ca_path, the CA of the server, instead.",
    )


def _signing(options: dict[str, Any]) -> tuple[Token | None, str]:
    """Return the token, and the seed that proves its possession."""
    if not options["jwt"]:
        return None, ""
    from .._choria.tokens import read_seed, read_token

    return read_token(options["jwt"]), read_seed(options["seed"])


def _open_to_others(options: dict[str, Any]) -> tuple[str, ...]:
    """Return a warning for each file with a secret that users other than its owner can read."""
    warnings = []
    for option in ("client_key", "seed", "jwt", "creds"):
        path = os.path.expanduser(options[option] or "")
        if path and os.path.exists(path) and os.stat(path).st_mode & 0o077:
            warnings.append(f"{option}: other users can read {path}: allow its owner alone (chmod 600).")
    return tuple(warnings)


def _check_rules(given: dict[str, Any]) -> None:
    for group in connection.CONNECTION.rules["mutually_exclusive"]:
        there = [name for name in group if given[name]]
        if len(there) > 1:
            raise _errors.OptionError(
                there[0], f"can't be given together with {' and '.join(there[1:])}: give one of them."
            )
    for group in connection.CONNECTION.rules["required_together"]:
        there = [name for name in group if given[name]]
        if there and len(there) < len(group):
            lacking = [name for name in group if not given[name]]
            raise _errors.OptionError(there[0], f"needs {' and '.join(lacking)} too.")


def _readable(option: str, path: str | None) -> str:
    if not path:
        return ""
    path = os.path.expanduser(os.path.expandvars(str(path)))
    try:
        with untrusted.open_file(path):
            return path
    except OSError as error:
        raise _errors.OptionError(
            option, f"{path} can't be read ({error.strerror}): check the path and its permissions."
        ) from error


def _creds(path: str | None) -> str:
    path = _readable("creds", path)
    try:
        if path and not _CREDS.search(untrusted.read_bytes(path, untrusted.MOST_CONFIG)):
            raise _errors.OptionError(
                "creds", f"{path} does not hold a user's JWT and seed: give the file that nsc made."
            )
    except OSError as error:
        raise _errors.OptionError("creds", f"{path} can't be read ({error.strerror}): check the path.") from error
    return path


def _nkey_seed(seed: str | None) -> str:
    if not seed:
        return ""
    seed = str(seed).strip()
    if not re.fullmatch(r"SU[A-Z2-7]{56}", seed):
        raise _errors.OptionError("nkey_seed", "is not the seed of a user: it has 58 characters and begins with SU.")
    return seed


def _timeout(option: str, value: Any) -> float:
    length = _errors.checked(option, quantities.parse_duration, value)
    if length <= 0:
        raise _errors.OptionError(option, f"'{value}' must be longer than 0.")
    return length


def _subject(option: str, value: str) -> str:
    value = str(value).rstrip(".")
    if not _SUBJECT.fullmatch(value):
        raise _errors.OptionError(
            option, f"'{value}' is not a subject: write words joined by dots, without spaces, * and >."
        )
    return value


def _api(domain: str | None, prefix: str | None, jwt: Token | None) -> str:
    if prefix:
        return _subject("api_prefix", prefix)
    if domain:
        return f"$JS.{_word('domain', domain)}.API"
    return jwt.api if jwt else connection.DEFAULT_API


def _word(option: str, value: str) -> str:
    if "." in value:
        raise _errors.OptionError(option, f"'{value}' must be one word without dots.")
    return _subject(option, value)
