"""An address that can't be bound is an error that names the setting to change."""

import errno
import socket
from contextlib import closing

import pytest

from pipeline.config.web_address import explained
from pipeline.core.errors import ConfigurationError

OR_NONE = "(--web-port), or --without-web"


def test_a_taken_port_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as raised, explained("127.0.0.1", port):
            socket.create_server(("127.0.0.1", port))
    assert str(raised.value) == (
        f"WEBHOOKS_WEB_PORT: 127.0.0.1:{port} can't be bound: address already in use; use another port {OR_NONE}"
    )


def test_an_address_of_another_machine_is_reported() -> None:
    with (
        closing(socket.socket()) as listener,
        pytest.raises(ConfigurationError) as raised,
        explained("192.0.2.1", 6066),
    ):
        listener.bind(("192.0.2.1", 6066))
    assert str(raised.value) == (
        "WEBHOOKS_WEB_BIND: 192.0.2.1:6066 can't be bound: cannot assign requested address; "
        "use an address of this machine"
    )


@pytest.mark.parametrize(
    ("host", "error", "sentence"),
    [
        (
            "::1",
            PermissionError(errno.EACCES, "while attempting to bind"),
            f"WEBHOOKS_WEB_PORT: [::1]:80 can't be bound: permission denied; use a port from 1024 on {OR_NONE}",
        ),
        (
            "nowhere",
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "WEBHOOKS_WEB_BIND: nowhere:80 can't be bound: cannot resolve host; use an address of this machine",
        ),
    ],
)
def test_other_errors_of_an_address_are_explained(host: str, error: OSError, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as raised, explained(host, 80):
        raise error
    assert str(raised.value) == sentence
