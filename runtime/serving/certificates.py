"""A private certificate authority and the certificates of device, edge and cloud: who is not signed by it is nobody."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...errors import InputError

__all__ = ["ROLES", "Credentials", "make_certificates", "read_credentials"]

ROLES = ("device", "edge", "cloud")
AUTHORITY = "authority"
_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Credentials:
    """Own certificate with its key, and the authority that peers must have been signed by (all PEM)."""

    authority: bytes
    certificate: bytes
    key: bytes

    def server(self) -> grpc.ServerCredentials:
        """TLS for a server that demands a certificate of its callers."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], root_certificates=self.authority, require_client_auth=True
        )

    def channel(self) -> grpc.ChannelCredentials:
        """TLS for a client that shows its certificate."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def make_certificates(
    folder: Path, hosts: Iterable[str] = (), names: Iterable[str] = ROLES, days: int = 365
) -> list[Path]:
    """Make an authority (or take the folder's) and a certificate with its key for each name that has none.

    Args:
        folder: Receives `authority.crt`, `authority.key` and for each name `NAME.crt` and `NAME.key`; the keys are
            readable by their owner only. Copy to a machine `authority.crt` and its own pair, never `authority.key`.
        hosts: Names and addresses at which the servers will be called, besides `localhost`.
        names: Common names: roles, or for several devices `device-1` and so on.
        days: Validity.

    Returns:
        The certificates written.

    Raises:
        InputError: A name or host is invalid, or every certificate exists already.
    """
    wanted = list(names)
    for name in wanted:
        if not name or name == AUTHORITY or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise InputError("certificates", "name", "must consist of letters, digits, '-', '_' and '.'", name)
    if not 1 <= days <= 3650:
        raise InputError("certificates", "days", "must be between 1 and 3650", days)
    alternatives = [_alternative(host) for host in (*_HOSTS, *hosts)]
    missing = [name for name in wanted if not (folder / f"{name}.crt").exists()]
    if not missing:
        remedy = "remove the ones to be made again, or use another folder"
        raise InputError(folder, "", f"has certificates for {', '.join(wanted)} already", None, remedy)
    folder.mkdir(parents=True, exist_ok=True)
    authority, authority_key = _authority(folder, days)
    written = []
    for name in missing:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, authority.subject, key.public_key(), min(_in(days), authority.not_valid_after_utc))
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(authority_key, hashes.SHA256())
        _write_key(folder / f"{name}.key", key)
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        written.append(folder / f"{name}.crt")
    return written


def read_credentials(folder: str | Path, name: str) -> Credentials:
    """The credentials of one name.

    Raises:
        InputError: A file is missing, damaged or out of date, or the key is open to others.
    """
    folder = Path(folder)
    contents = []
    for file_name in (f"{AUTHORITY}.crt", f"{name}.crt", f"{name}.key"):
        path = folder / file_name
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            remedy = f"make it with 'edgecloud certificates {folder}'"
            raise InputError(path, "", f"must be readable ({error.strerror})", None, remedy) from error
    key_path = folder / f"{name}.key"
    if os.name == "posix" and key_path.stat().st_mode & 0o077:
        raise InputError(key_path, "", "must be readable by its owner only", None, f"chmod 600 {key_path}")
    try:
        certificate = x509.load_pem_x509_certificate(contents[1])
        x509.load_pem_x509_certificate(contents[0])
        serialization.load_pem_private_key(contents[2], None)
    except (ValueError, TypeError) as error:
        raise InputError(folder, name, "must be a PEM certificate and key", str(error)[:80]) from error
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise InputError(folder / f"{name}.crt", "", "is out of date", str(certificate.not_valid_after_utc))
    return Credentials(*contents)


def _authority(folder: Path, days: int) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate_path, key_path = folder / f"{AUTHORITY}.crt", folder / f"{AUTHORITY}.key"
    if certificate_path.exists() != key_path.exists():
        raise InputError(folder, AUTHORITY, "must have both its certificate and its key", None, "use another folder")
    if certificate_path.exists():
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        except (ValueError, TypeError, OSError) as error:
            raise InputError(folder, AUTHORITY, "must be a PEM certificate and key", str(error)[:80]) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.not_valid_after_utc < _in(0):
            raise InputError(folder, AUTHORITY, "must be in date and made by this command", None, "use another folder")
        return certificate, key
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgecloud private authority")])
    builder = _builder("edgecloud private authority", subject, key.public_key(), _in(days))
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    _write_key(key_path, key)
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _in(days: int) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_in(0) - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(until)
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not host or len(host) > 253 or not all(letter.isalnum() or letter in "-." for letter in host):
        raise InputError("certificates", "host", "must be a host name or an address", host)
    return x509.DNSName(host)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    content = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
