"""TLS and mTLS by settings: TRIMTAB_TLS_CERT, _KEY, _CA, _CLIENT_CA (PEM files).

With CERT and KEY the gRPC servers and the gateway's HTTP server use TLS. With CA the channels to the
services do, and trust certificates that CA signed. With CLIENT_CA a gRPC server requires of every caller a
certificate signed by that authority: such a caller is a trusted internal caller (unless it sends a key), so
use an authority of its own. The channels present CERT and KEY.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from shared.configuration.settings import CommonSettings, stop


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM; empty values are not used."""

    cert: bytes = b""
    key: bytes = b""
    ca: bytes = b""
    client_ca: bytes = b""

    def server(self) -> grpc.ServerCredentials | None:
        """None: without TLS."""
        if not self.cert:
            return None
        return grpc.ssl_server_credentials(
            [(self.key, self.cert)], self.client_ca or None, bool(self.client_ca)
        )

    def channel(self) -> grpc.ChannelCredentials | None:
        """None: without TLS."""
        if not self.ca:
            return None
        return grpc.ssl_channel_credentials(self.ca, self.key or None, self.cert or None)


def load_tls(common: CommonSettings) -> Tls:
    """As the settings say. Ends the process with status 2, naming the variable, if a file is not PEM of
    its kind, or key and certificate do not match."""
    cert = _certificates("TRIMTAB_TLS_CERT", common.tls_cert)
    key = _private_key(common.tls_key)
    if bool(cert) != bool(key):
        missing = "TRIMTAB_TLS_KEY" if cert else "TRIMTAB_TLS_CERT"
        stop(missing, "is not set: set both certificate and key, or neither")
    if cert and _public(cert) != _public_of_key(key):
        stop("TRIMTAB_TLS_KEY", f"{common.tls_key} is not the key of {common.tls_cert}")
    tls = Tls(cert, key, _certificates("TRIMTAB_TLS_CA", common.tls_ca))
    return with_client_ca(tls, "TRIMTAB_TLS_CLIENT_CA", common.tls_client_ca)


def with_client_ca(tls: Tls, variable: str, path: Path | None) -> Tls:
    """For a server whose callers must present a certificate signed by the authority in `path`; None: they
    need none. Ends the process as `load_tls` does."""
    client_ca = _certificates(variable, path)
    if client_ca and not tls.cert:
        stop("TRIMTAB_TLS_CERT", f"is not set: {variable} needs a server with a certificate")
    return replace(tls, client_ca=client_ca)


def _certificates(variable: str, path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        text = path.read_bytes()
        x509.load_pem_x509_certificates(text)
    except (OSError, ValueError) as error:
        stop(variable, f"{path} holds no PEM certificate: {error}")
    return text


def _private_key(path: Path | None) -> bytes:
    if path is None:
        return b""
    try:
        text = path.read_bytes()
        serialization.load_pem_private_key(text, None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        stop("TRIMTAB_TLS_KEY", f"{path} holds no unencrypted PEM private key: {error}")
    return text


_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public(cert: bytes) -> bytes:
    return x509.load_pem_x509_certificates(cert)[0].public_key().public_bytes(*_SPKI)


def _public_of_key(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).public_key().public_bytes(*_SPKI)
