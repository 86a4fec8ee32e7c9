# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the certificates and tokens of a site in one folder, and renew them. Keys are never overwritten."""

from __future__ import annotations

import fcntl
import os
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _errors
from .._choria import issuing
from .._choria.signing import claims_signed_by
from .._choria.tokens import CLIENT, SERVER
from .._fsync import check_writable, write_whole
from .._options import codecs, composite, fields, names, quantities, untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SERVER_PERMISSIONS = ("submission", "streams", "governor", "service_host")
CLIENT_PERMISSIONS = (
    "streams_admin",
    "streams_user",
    "events_viewer",
    "election_user",
    "system_user",
    "governor",
    "org_admin",
    "fleet_management",
    "signed_fleet_management",
    "service",
    "authentication_delegator",
    "provisioner",
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=@-]*")
_LONGEST = {"ca": 64, "issuer": 250}  # in certificates, and in the names of files
_SEED = re.compile(r"[0-9a-fA-F]{64}")
_LIST: dict[str, Any] = {"default": []}
_NAMES = {"no_log": False, **_LIST}  # of tokens, which are no secret
_WORD = codecs.text(r"[A-Za-z0-9_-]{1,128}", "write letters, digits, _ and -")
_COMMON_NAME = codecs.text(r"[^\x00-\x1f\x7f]{1,64}", "a certificate's name is one line of up to 64 characters")
_YEAR_9999 = 253370764800  # seconds since 1970
_YEAR = 365 * 86400  # seconds
_AUTHORITY_VALIDITY = 10 * _YEAR


def _entries(*more: fields.Field) -> composite.Objects:
    rows = (fields.Field("name", codecs.Codec({"type": "str", "required": True})), *more)
    return composite.objects(composite.obj(*rows))


def _strings(default: list[str], choices: tuple[str, ...] = (), item: codecs.Text | None = None) -> codecs.Codec:
    limit = {"choices": list(choices)} if choices else {}
    return codecs.Names({"type": "list", "elements": "str", "default": default, **limit}, (), item=item)


def _subjects() -> codecs.Codec:
    return _strings([], item=names.SUBJECT)


SPEC = fields.Spec(
    (
        fields.Field("folder", codecs.Codec({"type": "path", "required": True})),
        fields.Field("authority", _COMMON_NAME, argument_extra={"default": "Choria"}),
        fields.Field("certificates", _entries(fields.Field("hosts", _strings([]))), argument_extra=_LIST),
        fields.Field(
            "server_tokens",
            _entries(
                fields.Field("permissions", _strings([], SERVER_PERMISSIONS)), fields.Field("publish", _subjects())
            ),
            argument_extra=_NAMES,
        ),
        fields.Field(
            "client_tokens",
            _entries(
                fields.Field("permissions", _strings([], CLIENT_PERMISSIONS)),
                fields.Field("publish", _subjects()),
                fields.Field("subscribe", _subjects()),
            ),
            argument_extra=_NAMES,
        ),
        fields.Field("collectives", _strings(["choria"], item=_WORD)),
        fields.Field("organization", _WORD, argument_extra={"default": "choria"}),
        fields.Field("validity", codecs.duration(60), argument_extra={"default": "365d"}),
        fields.Field("renew_before", codecs.duration(), argument_extra={"default": "30d"}),
    )
)


@dataclass
class _Folder:
    """The folder and the files to write, so that check mode differs only in the writing."""

    path: Path
    new: dict[str, str] = field(default_factory=dict)
    present: dict[str, str | None] = field(default_factory=dict)

    def read(self, name: str) -> str | None:
        if name in self.new:
            return self.new[name]
        if name not in self.present:
            self.present[name] = self._read(name)
        return self.present[name]

    def _read(self, name: str) -> str | None:
        try:
            return untrusted.read_text(self.path / name)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _errors.OptionError(
                "folder", f"{self.path / name} can't be read ({error.strerror}): check the folder."
            ) from error

    def once(self, name: str, make: Callable[[], str]) -> str:
        """Return the text of a file, which is made if it does not exist, and never overwritten."""
        text = self.read(name)
        if text is None:
            text = self.new[name] = make()
        return text

    def private_key(self, name: str) -> str:
        text = self.once(name, issuing.new_private_key)
        try:
            issuing.check_private_key(text)
        except ValueError as error:
            raise _errors.OptionError(
                "folder",
                f"{self.path / name} is not a private key that can be read: remove it, or put it there unencrypted.",
            ) from error
        return text

    def seed(self, name: str) -> str:
        text = self.once(name, issuing.new_seed).strip()
        if not _SEED.fullmatch(text):
            raise _errors.OptionError(
                "folder",
                f"{self.path / name} is not a seed of 64 hexadecimal digits: remove it, or put it there unencrypted.",
            )
        return text

    def write(self) -> bool:
        """Write all new files, or none and return False if another task changed the folder since it was read."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if any(self._read(name) != text for name, text in self.present.items()):
                return False
            for name, text in self.new.items():
                write_whole(self.path / name, text.encode())
            return True
        finally:
            os.close(handle)


def act(options: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Return the whole result of choria_credentials. Raises OptionError, before anything is written."""
    issuing.check_library()
    validity, before = (quantities.parse_duration(options[name]) for name in ("validity", "renew_before"))
    if before >= validity:
        raise _errors.OptionError(
            "renew_before", "it is not shorter than validity, so that all would be renewed at each run."
        )
    _check_names(options)
    soon = datetime.now(timezone.utc) + timedelta(seconds=before)
    while True:
        folder = _Folder(Path(options["folder"]))
        credentials = _credentials(folder, options, validity, soon)
        try:
            for name in folder.new:
                check_writable(folder.path / name)
            if check_mode or not folder.new or folder.write():
                break
        except OSError as error:
            raise _errors.OptionError(
                "folder", f"{folder.path} can't be written ({error.strerror}): check path and permissions."
            ) from error
    written = sorted(folder.new)
    result: dict[str, Any] = {"changed": bool(written), "credentials": credentials, "written": written}
    result["warnings"] = list(_warnings(credentials, validity))
    if written:
        header = {"before_header": str(folder.path), "after_header": str(folder.path)}
        result["diff"] = {**header, "before": "", "after": "".join(f"{name}\n" for name in written)}
    return result


def _credentials(folder: _Folder, options: Mapping[str, Any], validity: float, soon: datetime) -> dict[str, Any]:
    numbers = range(len(options["certificates"]))
    certificates = [_certificate(folder, options, number, validity, soon) for number in numbers]
    tokens = []
    for kind, purpose in (("server_tokens", SERVER), ("client_tokens", CLIENT)):
        tokens += [_token(folder, options, purpose, entry, validity, soon) for entry in options[kind]]
    credentials: dict[str, Any] = {"certificates": certificates, "tokens": tokens}
    credentials.update(dict.fromkeys(("authority", "authority_expires", "issuer")))
    if certificates:
        credentials["authority"] = str(folder.path / "ca.pem")
        credentials["authority_expires"] = _moment(issuing.expiry(folder.read("ca.pem") or ""))
    if tokens:
        credentials["issuer"] = issuing.public_key(folder.seed("issuer.seed"))
    return credentials


def _warnings(credentials: Mapping[str, Any], validity: float) -> Iterator[str]:
    """Yield a warning if the authority's certificate expires soon."""
    ends, soon = credentials["authority_expires"], datetime.now(timezone.utc) + timedelta(seconds=min(validity, _YEAR))
    if ends and quantities.parse_timestamp(ends) <= soon:
        yield (
            f"The certificate of the authority {credentials['authority']} expires at {ends}, and is never renewed by "
            "itself: with its ca.key beside it, remove ca.pem, run this again, and copy the new ca.pem to all hosts. "
            "Certificates that it has signed stay valid, since the key stays."
        )


def _check_names(options: Mapping[str, Any]) -> None:
    for kinds, own in ((("certificates",), "ca"), (("server_tokens", "client_tokens"), "issuer")):
        taken = {own}
        for kind in kinds:
            for number, entry in enumerate(options[kind]):
                name = entry["name"]
                if not _NAME.fullmatch(name):
                    raise _errors.OptionError(
                        f"{kind}[{number}].name", f"'{name}' can't name a file: use a-z, 0-9, . _ = @ -."
                    )
                if len(name) > _LONGEST[own]:
                    raise _errors.OptionError(
                        f"{kind}[{number}].name", f"'{name}' is too long: give at most {_LONGEST[own]} characters."
                    )
                if name in taken:
                    raise _errors.OptionError(
                        f"{kind}[{number}].name", f"'{name}' is taken in this folder: give another name."
                    )
                taken.add(name)


def _certificate(
    folder: _Folder, options: Mapping[str, Any], number: int, validity: float, soon: datetime
) -> dict[str, Any]:
    entry = options["certificates"][number]
    name = entry["name"]
    hosts = entry["hosts"] or [name]
    try:
        names = sorted(issuing.host_names(hosts))
    except ValueError as error:
        raise _errors.OptionError(
            f"certificates[{number}].hosts",
            f"{', '.join(hosts)} can't be in a certificate: use ASCII names and addresses.",
        ) from error
    authority = _authority(folder, options, max(_AUTHORITY_VALIDITY, validity))
    key = folder.private_key(f"{name}.key")
    there = folder.read(f"{name}.pem")
    facts = issuing.certificate_facts(there, key, authority) if there else None
    if not facts or facts[0] <= soon or sorted(facts[1]) != names:
        signer = _signer(folder, authority)
        there = folder.new[f"{name}.pem"] = issuing.new_certificate(name, hosts, key, authority, signer, validity)
        facts = issuing.certificate_facts(there, key, authority)
    expires = _moment(facts[0]) if facts else None
    paths = {"certificate": str(folder.path / f"{name}.pem"), "key": str(folder.path / f"{name}.key")}
    return {"name": name, **paths, "hosts": hosts, "expires": expires}


def _authority(folder: _Folder, options: Mapping[str, Any], validity: float) -> str:
    """Return the authority's certificate. If it is missing, it is made for the present or for a new key."""
    return folder.once(
        "ca.pem", lambda: issuing.new_authority(options["authority"], folder.private_key("ca.key"), validity)
    )


def _signer(folder: _Folder, authority: str) -> str:
    """Return the authority's key. Raises OptionError if it does not match the certificate."""
    path = folder.path / "ca.key"
    if folder.read("ca.key") is None:
        raise _errors.OptionError(
            "folder",
            f"{path} is missing beside ca.pem, and a certificate has to be signed: put it there, or remove ca.pem to "
            "get a new authority, which signs all certificates again.",
        )
    key = folder.private_key("ca.key")
    try:
        pair = issuing.are_pair(authority, key)
    except ValueError as error:
        raise _errors.OptionError(
            "folder", f"{folder.path / 'ca.pem'} is not a certificate: remove it, or correct it."
        ) from error
    if not pair:
        raise _errors.OptionError(
            "folder",
            f"{path} is not the key of ca.pem beside it: put the right one there, or remove both to get a "
            "new authority, which signs all certificates again.",
        )
    return key


def _token(
    folder: _Folder, options: Mapping[str, Any], purpose: str, entry: Mapping[str, Any], validity: float, soon: datetime
) -> dict[str, Any]:
    issuer_seed = folder.seed("issuer.seed")
    issuer = issuing.public_key(issuer_seed)
    folder.once("issuer.public", lambda: issuer)
    name = entry["name"]
    public = issuing.public_key(folder.seed(f"{name}.seed"))
    desired = {
        "purpose": purpose,
        "ou": options["organization"],
        "public_key": public,
        "permissions": dict.fromkeys(entry["permissions"], True),
        "pub_subjects": entry["publish"] or None,
        "sub_subjects": entry.get("subscribe") or None,
        **({"identity": name, "collectives": options["collectives"]} if purpose == SERVER else {"callerid": name}),
    }
    there = folder.read(f"{name}.jwt")
    claims = claims_signed_by(issuer, there) if there else None
    given = {claim: value for claim, value in desired.items() if value is not None}
    if not claims or not _grants_same(desired, claims) or not _is_valid(claims, soon):
        token = folder.new[f"{name}.jwt"] = issuing.new_token(issuer_seed, given, validity)
        claims = claims_signed_by(issuer, token) or {}
    expires = _moment(datetime.fromtimestamp(claims["exp"], timezone.utc))
    paths = {"token": str(folder.path / f"{name}.jwt"), "seed": str(folder.path / f"{name}.seed")}
    return {"name": name, "purpose": purpose, **paths, "permissions": entry["permissions"], "expires": expires}


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _is_valid(claims: Mapping[str, Any], soon: datetime) -> bool:
    expires = claims.get("exp")
    return isinstance(expires, (int, float)) and soon.timestamp() < expires < _YEAR_9999


def _grants_same(desired: Mapping[str, Any], claims: Mapping[str, Any]) -> bool:
    permissions = claims.get("permissions") or {}
    if not isinstance(permissions, dict):
        return False
    granted = {name for name, allowed in permissions.items() if allowed}
    others = {name: value for name, value in desired.items() if name != "permissions"}
    return granted == set(desired["permissions"]) and all(claims.get(name) == value for name, value in others.items())
