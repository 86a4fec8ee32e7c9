# Copyright (c) 2026 The choria.streams developers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make keys, certificates and Choria tokens.

Token keys are hex, certificates and their keys PEM. Claims: github.com/choria-io/tokens. Certificates contain the key
identifiers that strict verifiers require.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .. import _errors
from .signing import sign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# Certificates and tokens are valid from a little earlier, for machines whose clocks are late
_EARLIER = timedelta(minutes=5)
# Not a network, such as 10.0.0.0/8, and not a list of names
_NAME = re.compile(r"[!-+.0-~-]+")


def new_seed() -> str:
    """Return the hex seed of a new ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def public_key(seed: str) -> str:
    """Return the hex public key of a seed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key().public_bytes_raw().hex()


def new_token(issuer_seed: str, claims: Mapping[str, Any], validity: float) -> str:
    """Return a token with these claims, signed by the issuer and valid for ``validity`` seconds."""
    now = datetime.now(timezone.utc)
    times = {"exp": now + timedelta(seconds=validity), "nbf": now - _EARLIER, "iat": now}
    whole = {
        **claims,
        "iss": "choria.streams",
        "jti": uuid.uuid4().hex,
        **{name: int(moment.timestamp()) for name, moment in times.items()},
    }
    text = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA", "typ": "JWT"}, whole))
    return f"{text}.{_encoded(bytes.fromhex(sign(issuer_seed, text.encode())))}"


def new_private_key() -> str:
    """Return a new private key for a certificate as PEM. It is RSA, since Choria signs requests with RSA alone."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def new_authority(name: str, key: str, validity: float) -> str:
    """Return a self-signed certificate of an authority as PEM, valid for ``validity`` seconds."""
    from cryptography import x509

    private = _private(key)
    subject = _subject(name)
    builder = _builder(subject, private.public_key(), validity).issuer_name(subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _signed(builder, private, private.public_key())


def new_certificate(
    name: str, hosts: Sequence[str], key: str, authority: str, authority_key: str, validity: float
) -> str:
    """Return a certificate for servers and clients as PEM, signed by the authority.

    Args:
        name: the common name.
        hosts: host names and IP addresses.
        key: the PEM of the private key.
        authority: the PEM of the authority's certificate.
        authority_key: the PEM of the authority's private key.
        validity: in seconds.
    """
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    issuer, private = x509.load_pem_x509_certificate(authority.encode()), _private(authority_key)
    builder = _builder(_subject(name), _private(key).public_key(), validity).issuer_name(issuer.subject)
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(usages, critical=False)
    names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    return _signed(builder.add_extension(names, critical=False), private, private.public_key())


def certificate_facts(certificate: str, key: str, authority: str) -> tuple[datetime, list[str]] | None:
    """Return when a certificate expires, and its hosts.

    Returns None if it is invalid, or belongs to another key or authority.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        if parsed.public_key() != _private(key).public_key():
            return None
        parsed.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [str(name.value) for name in names]
    except x509.ExtensionNotFound:
        hosts = []
    except (ValueError, TypeError, InvalidSignature):
        return None
    return parsed.not_valid_after_utc, hosts


def expiry(certificate: str) -> datetime:
    """Return when a certificate expires. Raises ValueError if it is none."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def host_names(hosts: Iterable[str]) -> list[str]:
    """Return hosts as certificates write them. Raises ValueError for a host that no certificate can contain."""
    return [str(_alternative(host).value) for host in hosts]


def are_pair(certificate: str, key: str) -> bool:
    """Return True if a certificate belongs to the key. Raises ValueError if it is not a certificate."""
    from cryptography import x509

    return bool(x509.load_pem_x509_certificate(certificate.encode()).public_key() == _private(key).public_key())


def check_private_key(key: str) -> None:
    """Raise ValueError if the PEM is not a private key, or is encrypted."""
    try:
        _private(key)
    except TypeError as error:
        raise ValueError(str(error)) from error


def check_library() -> None:
    """Raise LibraryMissing if cryptography is not installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError as error:
        raise _errors.LibraryMissing("cryptography", "to make keys and certificates", sys.executable) from error


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _private(key: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(key.encode(), None)


def _subject(name: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: Any, key: Any, validity: float) -> Any:
    from cryptography import x509

    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _EARLIER).not_valid_after(now + timedelta(seconds=validity))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _signed(builder: Any, private: Any, issuer: Any) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
    certificate = builder.add_extension(identifier, critical=False).sign(private, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> Any:
    from cryptography import x509

    try:
        # Without the zone, such as %eth0, which certificates do not have
        return x509.IPAddress(ipaddress.ip_address(ipaddress.ip_address(host).packed))
    except ValueError:
        if not _NAME.fullmatch(host):
            raise
        return x509.DNSName(host)
