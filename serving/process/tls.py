"""Certificate and private key of HTTPS and gRPC, checked before the server listens."""

import ssl
from pathlib import Path

from serving.errors import SettingsError
from serving.settings import Settings


def tls_files(settings: Settings) -> tuple[Path, Path] | None:
    """The files of the certificate chain and of its key, which may be one file; None without TLS.

    Raises SettingsError unless both can be read and belong together.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        if key is not None:
            raise SettingsError(
                "CANDOR_TLS_KEY is set without CANDOR_TLS_CERTIFICATE; set both, or neither"
            )
        return None
    chosen = certificate if key is None else key
    for setting, file in (("CANDOR_TLS_CERTIFICATE", certificate), ("CANDOR_TLS_KEY", chosen)):
        _check_readable(setting, file)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            certificate, chosen, password=_refuse
        )
    except ssl.SSLError as error:
        raise SettingsError(
            f"CANDOR_TLS_CERTIFICATE ({certificate}) and CANDOR_TLS_KEY ({chosen}) are not a "
            "certificate chain and its "
            f"private key, both PEM ({error.reason or 'not PEM'})"
        ) from None
    return certificate, chosen


def _check_readable(setting: str, file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {file} cannot be read ({error.strerror})") from None


def _refuse() -> str:
    raise SettingsError(
        "the private key of CANDOR_TLS_KEY is encrypted; decrypt it, because nobody can type a "
        "password"
    )
