# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificate authorities and certificates for the tests."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path

    def server_config(self, verify_with: Authority | None = None, **more: Any) -> dict[str, Any]:
        """Return the nats-server configuration for this certificate. With an authority, clients need certificates."""
        tls: dict[str, Any] = {"cert_file": str(self.certificate), "key_file": str(self.key), **more}
        if verify_with:
            tls.update(ca_file=str(verify_with.path), verify=True)
        return {"tls": tls}


class Authority:
    """A certificate authority. `path` is the file of its certificate, and each call creates another one."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder
        self.path = folder / f"{name}.crt"
        self._name = _name(f"choria.streams tests {name}")
        self._key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(self._name, self._key, days=2).issuer_name(self._name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        _write(self.path, builder.sign(self._key, hashes.SHA256()))

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("localhost", "127.0.0.1"),
        *,
        days: int = 1,
        folder: Path | None = None,
    ) -> Pair:
        """Create a certificate for servers and clients, beside the authority's. With `days=-1` it has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(name), key, days=days).issuer_name(self._name)
        alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
        builder = builder.add_extension(alternatives, critical=False)
        where = folder or self.folder
        pair = Pair(where / f"{name}.crt", where / f"{name}.key")
        _write(pair.certificate, builder.sign(self._key, hashes.SHA256()))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        pair.key.chmod(0o600)
        return pair


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, days: int) -> x509.CertificateBuilder:
    end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=5))
        .not_valid_after(end)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
