"""Turns `TlsOptions` into an SSLContext: which certificates are trusted, and which one the client presents."""

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import Final

from pipeline.core.bounded import Bounded
from pipeline.core.errors import ConfigurationError
from pipeline.core.subscription import TlsOptions

MAX_CONTEXTS: Final = 1024
"""The most contexts that are kept. A new context replaces the oldest, which is built again when needed."""


class TlsContexts:
    """One context for each distinct value of the options: building a context reads every trusted root of the system.

    Connections are pooled by context, so subscriptions with the same options share them.
    """

    def __init__(self, limit: int = MAX_CONTEXTS) -> None:
        self._contexts: Bounded[TlsOptions, ssl.SSLContext] = Bounded(limit)
        self._building = asyncio.Lock()

    async def get(self, options: TlsOptions) -> ssl.SSLContext:
        """The context for *options*.

        Raises:
            ConfigurationError: a certificate or key can't be read, or they don't belong together.
        """
        async with self._building:
            context = self._contexts.get(options)
            if context is None:
                context = await asyncio.to_thread(tls_context, options)
                self._contexts[options] = context
            return context


def tls_context(options: TlsOptions) -> ssl.SSLContext:
    """A client context: TLS 1.2 or newer, the system's roots and those of the options. Reads files, so it blocks.

    Any certificate in a trust store is trusted directly (as in Java), even a receiver's own certificate or an
    intermediate one.

    Raises:
        ConfigurationError: a certificate or key can't be read, or they don't belong together.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # Without DHE, because the server chooses the modulus: with 10,000 bits, each handshake would block the event loop
    # for half a second. Every server that has DHE in TLS 1.2 has ECDHE, too; browsers have not offered DHE since 2020.
    context.set_ciphers(":".join(cipher["name"] for cipher in context.get_ciphers() if cipher["kea"] != "kx-dhe"))
    # A common name in the subject does not identify the receiver (RFC 9110 section 4.3.4).
    context.hostname_checks_common_name = False
    # Python 3.13 changed both defaults, and trust should not depend on the version.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = options.verify_hostname and not options.trust_all
    if options.trust_all:
        context.verify_mode = ssl.CERT_NONE
    if options.trusted_pem is not None:
        try:
            context.load_verify_locations(cadata=options.trusted_pem)
        except (ssl.SSLError, ValueError):
            raise ConfigurationError("ssl.trustStore: contains no readable PEM certificate") from None
    if options.client_certificate_pem is not None:
        try:
            show_certificate(context, options.client_certificate_pem, options.client_key_pem or "")
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(
                "ssl.keyStore: contains no readable PEM certificate with the private key that belongs to it"
            ) from None
    return context


def show_certificate(context: ssl.SSLContext, certificate_pem: str, key_pem: str) -> None:
    """Let *context* present a certificate chain, with its private key.

    Raises:
        ssl.SSLError: the chain or the key can't be read, or they don't belong together.
        ValueError: the key is encrypted.
    """
    # Python's ssl module only takes files. Only this user can read the folder, which is deleted right away.
    with tempfile.TemporaryDirectory(prefix="tls-") as folder:
        pem = Path(folder, "client.pem")
        pem.write_text(f"{certificate_pem}\n{key_pem}\n", encoding="utf-8")
        # Without a password function OpenSSL would ask for one on the terminal.
        context.load_cert_chain(pem, password=_no_password)


def _no_password() -> str:
    raise ValueError("the key is encrypted")
