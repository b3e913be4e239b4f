"""A certificate for 127.0.0.1, for simulators of vendors that are spoken to over TLS only."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from typing import TYPE_CHECKING

from roomkit._lazy import require

if TYPE_CHECKING:
    from pathlib import Path

_DAYS = 2


def server_tls(folder: Path, *, user: str) -> tuple[ssl.SSLContext, Path]:
    """Make a new key and a certificate that vouches for itself.

    Args:
        folder: Where both are written.
        user: Which simulator wants them, for the error.

    Returns:
        What a server on 127.0.0.1 or ``localhost`` needs, and the file clients are to trust.

    Raises:
        MissingDependencyError: cryptography is not installed.
    """
    x509 = require("cryptography.x509", user=user, extra="simulators", dist="cryptography")
    hashes = require("cryptography.hazmat.primitives.hashes", user=user, extra="simulators")
    forms = require("cryptography.hazmat.primitives.serialization", user=user, extra="simulators")
    curves = require("cryptography.hazmat.primitives.asymmetric.ec", user=user, extra="simulators")
    key = curves.generate_private_key(curves.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "RoomKit simulator")])
    now = datetime.datetime.now(datetime.UTC)
    hosts = [
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.DNSName("localhost"),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "trusted.pem", folder / "key.pem"
    trusted.write_bytes(certificate.public_bytes(forms.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted
