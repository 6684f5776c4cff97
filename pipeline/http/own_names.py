"""What this host is called: a proxy that is asked for one of these names may lead back to it."""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

HOSTS_FILE: Final = Path("/etc/hosts")
RESOLV_CONF: Final = Path("/etc/resolv.conf")


def own_names(hosts_file: Path = HOSTS_FILE, resolv_conf: Path = RESOLV_CONF) -> frozenset[str]:
    """The names of this host, in small letters; nothing is looked up, so that nobody has to answer.

    They are its host name, whatever the hosts file calls loopback or names beside the host name, and the first label
    of the host name in each search domain.

    Args:
        hosts_file: as in hosts(5).
        resolv_conf: as in resolv.conf(5).
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
