"""The names of this host. A proxy on the same host would resolve them to internal addresses."""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HOSTS_FILE: Final = Path("/etc/hosts")
RESOLV_CONF: Final = Path("/etc/resolv.conf")


def own_names(hosts_file: Path = HOSTS_FILE, resolv_conf: Path = RESOLV_CONF) -> frozenset[str]:
    """The names of this host in lower case, without any lookup.

    These are the host name, its first label in each search domain, and names from the hosts file: in lines of loopback
    addresses, and in lines with another name of this host.

    Args:
        hosts_file: a file in the format of hosts(5).
        resolv_conf: a file in the format of resolv.conf(5).
    """
    name = socket.gethostname().lower()
    label = name.partition(".")[0]
    names = {name, label, *(f"{label}.{domain}" for domain in _search_domains(resolv_conf))}
    for address, *called in _lines(hosts_file):
        if _is_loopback(address) or not names.isdisjoint(called):
            names.update(called)
    return frozenset(names - {""})


def _search_domains(resolv_conf: Path) -> Iterator[str]:
    for keyword, *values in _lines(resolv_conf):
        if keyword in {"search", "domain"}:
            yield from (value.rstrip(".") for value in values)


def _lines(path: Path) -> Iterator[list[str]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.lower().splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False
