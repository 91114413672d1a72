"""TLS and tokens: what the server is given, and what is missing."""

import ipaddress
import os
import ssl
import sys
import tempfile
import time

import grpc

from export.errors import ExportError
from export.server.options import ServeOptions
from export.serving_protos import SslConfig, read_text_proto


def read_token(path: str) -> str | None:
    """The token in a file; None without a file.

    Raises:
        ExportError: the file cannot be read or contains no token.
    """
    if not path:
        return None
    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"Cannot read the token in `{path}`: {error}.") from error
    if not token or any(character.isspace() for character in token):
        raise ExportError(f"`{path}` must contain one token: printable characters without spaces.")
    return token


def read_credentials(path: str) -> grpc.ServerCredentials | None:
    """The credentials in a text `SSLConfig`; None without a file. Warns of an expired certificate.

    Raises:
        ExportError: the file cannot be read, or key and certificate cannot be used.
    """
    if not path:
        return None
    config = read_text_proto(path, SslConfig())
    if not config.server_key or not config.server_cert:
        raise ExportError(
            f"`{path}` needs `server_key` and `server_cert`: the contents of the PEM files, not their names."
        )
    if config.client_verify and not config.custom_ca:
        raise ExportError(
            f"`{path}` sets `client_verify`; this needs `custom_ca`, the authority that signed the client certificates."
        )
    _check_certificate(path, config.server_key, config.server_cert)
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        root_certificates=config.custom_ca.encode() or None,
        require_client_auth=config.client_verify,
    )


def _check_certificate(path: str, key: str, certificate: str) -> None:
    """Checks key and certificate, about which gRPC says only that it cannot listen; warns of an expired one."""
    with tempfile.TemporaryDirectory() as folder:  # readable for this user only; the ssl module reads files only
        files = [os.path.join(folder, name) for name in ("certificate.pem", "key.pem")]
        for name, content in zip(files, (certificate, key), strict=True):
            with open(name, "w", encoding="utf-8") as file:
                file.write(content)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(files[0], files[1], lambda: "")
        except (ssl.SSLError, ValueError) as error:
            raise ExportError(
                f"`{path}`: `server_key` and `server_cert` must be PEM, unencrypted, and belong together: {error}."
            ) from error
        decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]  # there is no public way
        until = decode(files[0])["notAfter"]
    if ssl.cert_time_to_seconds(until) < time.time():
        print(
            f"WARNING: the certificate in {path} expired on {until}: clients will refuse it.",
            file=sys.stderr,
            flush=True,
        )


def warn_of_exposure(options: ServeOptions, credentials: grpc.ServerCredentials | None, token: str | None) -> None:
    """Warns if other machines can reach a port that has no TLS, or has TLS but no token."""
    try:
        loopback = ipaddress.ip_address(options.bind_address).is_loopback
    except ValueError:
        loopback = options.bind_address == "localhost"
    clear = ["gRPC"] if options.port and credentials is None else []
    clear += ["REST"] if options.rest_api_port else []
    if loopback or not clear:
        return
    ports = f"{' and '.join(clear)} {'is' if len(clear) == 1 else 'are'} not encrypted"
    if token:
        text = f"the token travels in clear text, because {ports} at {options.bind_address}: give --ssl_config_file"
        text += " for gRPC, and put a proxy with TLS before REST."
    else:
        text = f"listening at {options.bind_address}, reachable from other machines, and {ports}: anyone who can reach "
        text += "the port can use the models and reload the configuration. Give --ssl_config_file or --auth_token_file."
    print(f"WARNING: {text}", file=sys.stderr, flush=True)
