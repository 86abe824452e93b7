"""Address: where an engine and a worker on another host meet."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

_EXPECTED = "HOST:PORT of one address of this host, as 10.0.0.5:7000 or [fd00::5]:7000"


@dataclass(frozen=True, slots=True)
class Address:
    """port 0: any that is free."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError, whose message is what was expected, for anything else than HOST:PORT.

        An address that stands for every interface is refused: gloo listens on one, and the port takes anybody who reaches it.
        """
        host, _, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(_EXPECTED)
        if not host or host.split() != [host] or not (port.isascii() and port.isdigit()) or not 1 <= int(port) <= 65535:
            raise ValueError(_EXPECTED)
        if _is_every(host):
            raise ValueError(f"{_EXPECTED}: {host} is all of them")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_every(host: str) -> bool:
    if host == "*":
        return True
    try:
        return ip_address(host).is_unspecified
    except ValueError:  # a name
        return False
