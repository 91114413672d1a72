"""Proxies: never between this machine and itself, and named when a request fails through one."""

import ipaddress
import os
import urllib.request

from export.client.address import Address

_VARIABLES = {
    "http": ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    "grpc": ("grpc_proxy", "https_proxy", "http_proxy"),
}


def is_loopback(address: Address) -> bool:
    """Whether the server runs on this machine; its requests go around all proxies."""
    host = address.host.strip("[]").partition("%")[0].rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_loopback or ip.is_unspecified


def proxy_variable(address: Address) -> str | None:
    """The environment variable that sets the proxy of a server; None if there is none or `no_proxy` lists the host."""
    if is_loopback(address):
        return None
    names = ("no_grpc_proxy", "no_proxy") if address.is_grpc else ("no_proxy", "NO_PROXY")
    without = next((os.environ[name] for name in names if os.environ.get(name)), "")
    bypass = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it
    if bypass(address.netloc, {"no": without}):
        return None
    return next(
        (
            name
            for name in _VARIABLES[address.scheme[:4] if address.is_grpc else address.scheme]
            if os.environ.get(name)
        ),
        None,
    )


def through(variable: str | None) -> str:
    """What to add to the message of a failed request that went through the proxy of a variable."""
    if variable is None:
        return ""
    return f" (through the proxy that the environment variable {variable} sets; no_proxy lists hosts without one)"
