"""Keeps callbacks from internal addresses, unless these are allowed (server-side request forgery, CWE-918).

The guard checks the address that a socket is about to connect to (`guarded_socket`). The check comes after name
resolution and parsing, so nothing can change between check and use.
"""

import errno
import re
import socket
from collections.abc import Callable, Container, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

_REFUSED: Final = (
    # IANA IPv4 special-purpose registry (RFC 6890 and its updates), multicast (RFC 5771), reserved (RFC 1112).
    ("0.0.0.0/8", "the network of this host"),
    ("10.0.0.0/8", "the private network"),
    ("100.64.0.0/10", "the shared network"),
    ("127.0.0.0/8", "the loopback network"),
    # Metadata addresses of clouds come before the networks that contain them, so that messages name them.
    ("169.254.169.254/32", "the metadata address"),
    ("169.254.0.0/16", "the link-local network"),
    # A public address; but in Azure, the virtual machine's host answers it: DNS, health probes, secrets.
    ("168.63.129.16/32", "the metadata address"),
    ("172.16.0.0/12", "the private network"),
    ("192.0.0.0/24", "the protocol-assignment network"),
    ("192.0.2.0/24", "the documentation network"),
    ("192.31.196.0/24", "the AS112 network"),
    ("192.52.193.0/24", "the AMT network"),
    ("192.88.99.0/24", "the 6to4-relay network"),
    ("192.168.0.0/16", "the private network"),
    ("192.175.48.0/24", "the AS112 network"),
    ("198.18.0.0/15", "the benchmark network"),
    ("198.51.100.0/24", "the documentation network"),
    ("203.0.113.0/24", "the documentation network"),
    ("224.0.0.0/4", "the multicast network"),
    ("255.255.255.255/32", "the broadcast address"),
    ("240.0.0.0/4", "the reserved network"),
    # Addresses outside 2000::/3 are not global unicast (RFC 4291 section 2.4); known parts get their name.
    ("::/128", "the unspecified address"),
    ("::1/128", "the loopback address"),
    ("::ffff:0:0/96", "the IPv4-mapped network"),
    ("::ffff:0:0:0/96", "the IPv4-translated network"),
    ("::/96", "the IPv4-compatible network"),
    ("64:ff9b::/96", "the NAT64 network"),
    ("64:ff9b:1::/48", "the NAT64 network"),
    ("100::/64", "the discard-only network"),
    ("fd00:ec2::254/128", "the metadata address"),
    ("fc00::/7", "the private network"),
    ("fe80::/10", "the link-local network"),
    ("fec0::/10", "the site-local network"),
    ("ff00::/8", "the multicast network"),
    # The special-purpose parts of 2000::/3.
    ("2001::/32", "the Teredo network"),
    ("2001::/23", "the protocol-assignment network"),
    ("2001:db8::/32", "the documentation network"),
    ("2002::/16", "the 6to4 network"),
    ("2620:4f:8000::/48", "the AS112 network"),
    ("3fff::/20", "the documentation network"),
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOOPBACK: Final = "127.0.0.1"
_LOW_32_BITS: Final = 0xFFFF_FFFF

# Software that supports the notations of inet_aton treats a host as an address if the host's last part is a number
# (WHATWG URL Standard, "ends in a number").
_ENDS_IN_A_NUMBER: Final = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.*", re.IGNORECASE)
# RFC 6761 section 6.3, and the loopback names in the hosts files of Linux distributions.
_LOOPBACK_NAME: Final = re.compile(
    r"(.*\.)?localhost|localhost[46]?(\.localdomain[46]?)?|ip6-(localhost|loopback)", re.IGNORECASE
)


class Guard:
    """Checks addresses.

    Args:
        allowed_networks: the exceptions (`WEBHOOKS_ALLOW_PRIVATE_NETWORKS`). An IPv4 network also allows the
            IPv4-mapped IPv6 form of its addresses, which leads to the same machines, but no other IPv6 form.
        own_names: the names of this host, in lower case.

    An IPv6 address with NAT64's well-known prefix (RFC 6052) leads to the IPv4 address that it contains. So this IPv4
    address is checked. On a host without IPv4, DNS64 gives such addresses to receivers that
    have only IPv4.
    """

    def __init__(self, allowed_networks: Iterable[Network] = (), own_names: Container[str] = ()) -> None:
        self._allowed = tuple(allowed_networks)
        self._own_names = own_names
        self._refused = [(ip_network(network), name) for network, name in _REFUSED]

    def verdict(self, address: str) -> str | None:
        """Why callbacks may not connect to *address*, a sentence; None if they may connect.

        Args:
            address: an address in the form that sockets use, without a port; an IPv6 zone is ignored.
        """
        bare = address.partition("%")[0]
        try:
            parsed = ip_address(bare)
        except ValueError:
            return f"{address} is not an address"
        if self._is_allowed(parsed):
            return None
        if parsed in _NAT64 and self._is_public(IPv4Address(int(parsed) & _LOW_32_BITS)):
            return None
        for network, name in self._refused:
            if parsed in network:
                return f"{bare} is in {name} {network}; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
        if parsed.version == 6 and parsed not in _GLOBAL_UNICAST:  # noqa: PLR2004 - the version of IP
            return f"{bare} is outside global unicast {_GLOBAL_UNICAST}; WEBHOOKS_ALLOW_PRIVATE_NETWORKS can allow it"
        return None

    def verdict_on_host(self, host: str) -> str | None:
        """Why a proxy may not be asked to connect to *host*, a sentence; None if it may.

        Args:
            host: the host of a URL. A host that looks like an address must be an address in the usual notation. A name
                is refused only if it is a loopback name or a name of this host: the proxy resolves names.
        """
        if ":" in host or _ENDS_IN_A_NUMBER.fullmatch(host):
            return self.verdict(host)
        name = host.lower().rstrip(".")
        if _LOOPBACK_NAME.fullmatch(name):
            verdict = self.verdict(_LOOPBACK)
            return verdict and f"{host} is a loopback name: {verdict}"
        if name in self._own_names and self.verdict(_LOOPBACK) is not None:
            return f"{host} is a name of the worker's host"
        return None

    def _is_public(self, address: IPv4Address) -> bool:
        return not any(address in network for network, _ in self._refused)

    def _is_allowed(self, address: Address) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any(address in network or (mapped is not None and mapped in network) for network in self._allowed)


class RefusedAddressError(OSError):
    """The guard refuses an address. The text is the verdict."""

    def __init__(self, verdict: str) -> None:
        super().__init__(errno.EACCES, verdict)
        self.verdict = verdict


AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, type, protocol, canonical name, socket address, as from `socket.getaddrinfo`."""


def guarded_socket(guard: Guard) -> Callable[[AddressInfo], socket.socket]:
    """A socket factory for aiohttp's connector, which calls it right before it connects to an address.

    The factory raises RefusedAddressError if *guard* refuses the address. If a name has several addresses, the refused
    ones are skipped, and the attempt fails only if no other address can be connected to.
    """

    def new_socket(address_info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = address_info
        verdict = guard.verdict(str(address[0]))
        if verdict is not None:
            raise RefusedAddressError(verdict)
        return socket.socket(family, kind, protocol)

    return new_socket
