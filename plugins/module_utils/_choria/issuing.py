# Copyright (c) 2026 The choria.streams developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making of keys, certificates and Choria's tokens. Keys of tokens are hex, certificates and their keys PEM.

Claims: github.com/choria-io/tokens. Certificates carry the key identifiers that strict verifiers ask for.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import sys
import uuid
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from .. import _errors
from .signing import sign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# A machine whose clock is a little late must be able to use what was just made
_EARLIER = timedelta(minutes=5)


def new_seed() -> str:
    """The seed of a new ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw().hex()


def public_key(seed: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)).public_key().public_bytes_raw().hex()


def new_token(issuer_seed: str, claims: Mapping[str, Any], validity: float) -> str:
    """A token that the issuer signs; ``validity`` is in seconds."""
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
    """The PEM of a new key for a certificate. Choria signs requests with it, and knows RSA alone."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def new_authority(name: str, key: str, validity: float) -> str:
    """The PEM of an authority's own certificate; ``validity`` is in seconds."""
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
    """The PEM of a certificate for servers and clients alike; ``hosts`` are names and addresses."""
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
    """When a certificate expires and for which hosts it is; None where it is none, or not of that key and authority."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
        if found.public_key() != _private(key).public_key():
            return None
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = [str(name.value) for name in names]
    except x509.ExtensionNotFound:
        hosts = []
    except (ValueError, TypeError, InvalidSignature):
        return None
    return found.not_valid_after_utc, hosts


def host_names(hosts: Iterable[str]) -> list[str]:
    """Hosts as certificates have them. Raises ValueError for one that can't be in a certificate."""
    return [str(_alternative(host).value) for host in hosts]


def are_pair(certificate: str, key: str) -> bool:
    """Whether a certificate is that of the key. Raises ValueError where it is no certificate."""
    from cryptography import x509

    return bool(x509.load_pem_x509_certificate(certificate.encode()).public_key() == _private(key).public_key())


def check_private_key(key: str) -> None:
    """Raises ValueError where the PEM is no private key, or is encrypted."""
    try:
        _private(key)
    except TypeError as error:
        raise ValueError(str(error)) from error


def check_library() -> None:
    """Raises LibraryMissing where cryptography can't be had."""
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
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
