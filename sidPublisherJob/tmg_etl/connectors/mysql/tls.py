"""From a config's `ssl_…` options to what the driver verifies.

PyMySQL alone reads `ssl_ca` without verifying anything by it, and `ssl_verify_identity` without
`ssl_ca` verifies no name. Here whoever names an authority means it: the certificate is verified,
and the name where it is asked for, by that authority or else by those of the system.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from tmg_etl import errors

OPTIONS = frozenset(
    {
        "ssl_ca",
        "ssl_cert",
        "ssl_key",
        "ssl_key_password",
        "ssl_verify_cert",
        "ssl_verify_identity",
    }
)


def public_key(text: str) -> bytes:
    """Return the server's key, by which a password is encrypted where no TLS does it.

    Raises:
        ValueError: it is none of RSA in PEM, which the driver would only notice when it is asked.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not isinstance(serialization.load_pem_public_key(text.encode()), rsa.RSAPublicKey):
        raise ValueError(text)
    return text.encode()


def context(options: Mapping[str, Any], name: str) -> ssl.SSLContext | None:
    """Return how TLS is spoken; None where no option asks for it: then it is tried, unverified.

    Args:
        options: those of the connection, of any kind.
        name: the connection's, for messages.

    Raises:
        errors.ConfigError: a file is not there, or holds no certificate or key.
    """
    given = {key: value for key, value in options.items() if key in OPTIONS}
    if not given or options.get("ssl_disabled"):
        return None
    try:
        made = ssl.create_default_context(cafile=given.get("ssl_ca"))
        # Python 3.13 verifies by rules that certificates which MySQL makes for itself do not keep.
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
        has_name = given.get("ssl_verify_identity", False)
        made.check_hostname = has_name
        is_verified = has_name or given.get("ssl_verify_cert", "ssl_ca" in given)
        made.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
        if "ssl_cert" in given:
            made.load_cert_chain(
                given["ssl_cert"], given.get("ssl_key"), given.get("ssl_key_password")
            )
    except OSError as error:  # ssl.SSLError is one
        files = [str(given[key]) for key in ("ssl_ca", "ssl_cert", "ssl_key") if key in given]
        raise errors.ConfigError(
            f"connection {name!r}: no certificate or key can be read from {', '.join(files)}:"
            f" {error.strerror or error}",
            hint="check the files that `options` of the connection name",
        ) from error
    return made
