"""Fetching a picture or recording that a request names, from hosts that the operator allows.

A server that fetches addresses for strangers can be turned against the network it stands in. So:
only allowed hosts, only http and https, each name is resolved here and only public addresses are
connected to (the very address that was checked), redirects pass the same door, size and time are
bounded, and nothing is fetched at all unless `--allow-remote-media` was given.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from urllib.parse import urljoin, urlsplit

from dvse.errors import InputError

_MAX_REDIRECTS = 3
_BLOCK = 64 * 1024
_PORTS = {"http": 80, "https": 443}


def is_public(address: str) -> bool:
    """Return whether an IP address is reachable by everybody.

    >>> is_public("93.184.215.14"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return ip.is_global and not ip.is_multicast


class RemoteMedia:
    """Fetches from allowed hosts.

    Args:
        hosts: `host` or `host:port`; without a port, 80 and 443 are meant.
        timeout_s: for the whole of one fetch, redirects included.
        max_bytes: of one file.
        is_allowed_address: says which IP addresses may be connected to.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        timeout_s: float,
        max_bytes: int,
        is_allowed_address: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts = {host.lower() for host in hosts}
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._is_allowed_address = is_allowed_address

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind an address.

        Raises:
            InputError: an address that is not allowed, not there, too large or too slow.
        """
        deadline = time.monotonic() + self._timeout_s
        for _ in range(_MAX_REDIRECTS + 1):
            connection, target = self._connect(url, deadline)
            try:
                connection.request("GET", target, headers={"User-Agent": "dvse", "Accept": "*/*"})
                response = connection.getresponse()
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.getheader("Location") or "")
                    continue
                if response.status != 200:
                    raise InputError(f"the remote server answered {response.status}")
                return self._read(connection, response, deadline)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"remote media could not be fetched: {type(error).__name__}"
                ) from error
            finally:
                connection.close()
        raise InputError(f"remote media: more than {_MAX_REDIRECTS} redirects")

    def _connect(self, url: str, deadline: float) -> tuple[http.client.HTTPConnection, str]:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise InputError("remote media: not an address") from None
        wanted = {f"{host}:{port}"} | ({host} if port in _PORTS.values() else set())
        if parts.scheme not in _PORTS or not host or not wanted & self._hosts:
            raise InputError(
                "remote media: this address is not fetched here; send the content as "
                "data:TYPE;base64,… or let the operator allow its host"
            )
        address = self._resolve(host, port)
        left = max(deadline - time.monotonic(), 0.001)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            raw = socket.create_connection((address, port), timeout=left)
            if parts.scheme == "https":
                raw = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
        except OSError as error:
            raise InputError(f"remote media: {host} does not answer") from error
        connection = http.client.HTTPConnection(host, port, timeout=left)
        connection.sock = raw
        return connection, target

    def _resolve(self, host: str, port: int) -> str:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise InputError(f"remote media: {host} is not known") from error
        addresses = [str(entry[4][0]) for entry in found]
        if not addresses or not all(self._is_allowed_address(a) for a in addresses):
            raise InputError(f"remote media: {host} is not a public address")
        return addresses[0]

    def _read(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        deadline: float,
    ) -> bytes:
        blocks: list[bytes] = []
        size = 0
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise InputError(f"remote media: took longer than {self._timeout_s:g} s")
            if connection.sock is not None:
                connection.sock.settimeout(left)
            block = response.read1(_BLOCK)
            if not block:
                return b"".join(blocks)
            size += len(block)
            if size > self._max_bytes:
                raise InputError(f"remote media: more than {self._max_bytes:,} bytes")
            blocks.append(block)
