"""Untrusted stores are opened in a separate process, because a store may crash the process that opens it."""

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from pipeline.config.keystores.cost import MOST_ROUNDS, check_cost
from pipeline.config.keystores.opening import OpenHere, Store
from pipeline.config.keystores.process import CPU_SECONDS, StoreProcess
from pipeline.core.errors import ConfigurationError
from tests.support.costly_stores import PASSWORD, hidden, store

STORES = Path(__file__).parents[3] / "keystores"
KEYS = Store("PKCS12", "f", (STORES / "keys.p12").read_bytes(), PASSWORD)
TRUST = Store("JKS", "f", (STORES / "trust.jks").read_bytes(), PASSWORD)


@pytest.fixture
def opener() -> Iterator[StoreProcess]:
    opener = StoreProcess()
    yield opener
    opener.close()


def pid_of(opener: StoreProcess) -> int:
    """The id of the process that the opener has started."""
    process = opener._process
    assert process is not None
    return process.pid


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_the_process_opens_a_store_as_the_worker_would(opener: StoreProcess) -> None:
    assert opener.client(KEYS) == OpenHere().client(KEYS)
    assert opener.trusted(TRUST) == OpenHere().trusted(TRUST)
    key = Store("PEM", "f", key=opener.client(KEYS).key_pem.encode(), key_path="k")
    assert opener.key(key) == OpenHere().key(key)


@pytest.mark.parametrize("store", [Store("PKCS12", "f", KEYS.data, "wrong"), Store("JKS", "f", b"\xff", "\udc80")])
def test_the_process_reports_the_same_errors_as_the_worker(opener: StoreProcess, store: Store) -> None:
    with pytest.raises(ConfigurationError) as here:
        OpenHere().client(store)
    with pytest.raises(ConfigurationError) as there:
        opener.client(store)
    assert there.value.problems == here.value.problems


def test_a_costly_store_does_not_block_the_next_store(opener: StoreProcess) -> None:
    costly = hidden(2**31 - 1)
    check_cost(costly, "f")
    with pytest.raises(
        ConfigurationError, match=r"^f: takes more than 2 s of CPU time to open; allowed: 1000000 rounds"
    ):
        opener.client(Store("PKCS12", "f", costly, PASSWORD))
    assert opener.client(KEYS).key_pem


def test_a_store_with_few_hidden_rounds_is_opened(opener: StoreProcess) -> None:
    # The store has the key, but not its certificate.
    with pytest.raises(ConfigurationError, match="contains no private key with its certificate"):
        opener.client(Store("PKCS12", "f", hidden(1), PASSWORD))


def test_each_store_has_its_own_cpu_limit(opener: StoreProcess) -> None:
    opener.trusted(TRUST)
    first = pid_of(opener)
    enough = cpu_seconds(first) + CPU_SECONDS + 1
    while cpu_seconds(first) <= enough:
        with pytest.raises(ConfigurationError, match="is not a PKCS12 store, or its password is wrong"):
            opener.trusted(Store("PKCS12", "f", store(MOST_ROUNDS), PASSWORD))
    assert opener.trusted(TRUST)
    assert pid_of(opener) == first


def test_the_process_writes_no_core_dump(opener: StoreProcess) -> None:
    opener.trusted(TRUST)
    assert resource.prlimit(pid_of(opener), resource.RLIMIT_CORE) == (0, 0)


def test_a_process_that_was_killed_is_started_again(opener: StoreProcess) -> None:
    opener.trusted(TRUST)
    former = pid_of(opener)
    os.kill(former, SIGKILL)
    assert opener.trusted(TRUST)
    assert pid_of(opener) != former


def test_the_process_ends_with_the_worker(opener: StoreProcess) -> None:
    opener.trusted(TRUST)
    process = opener._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 0


def test_the_process_gets_no_environment(opener: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOKS_SECRET_KEYS", "planted")
    opener.trusted(TRUST)
    assert b"planted" not in Path(f"/proc/{pid_of(opener)}/environ").read_bytes()


def test_after_the_close_no_store_is_opened(opener: StoreProcess) -> None:
    opener.close()
    with pytest.raises(ConfigurationError, match="the process that opens stores was killed"):
        opener.trusted(TRUST)


def test_a_process_that_starts_during_the_close_opens_nothing(
    opener: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing, start = threading.Thread(target=opener.close), subprocess.Popen

    def start_late(*command: Any, **options: Any) -> Any:
        closing.start()
        while not opener._is_closed:
            time.sleep(0)
        return start(*command, **options)

    monkeypatch.setattr(subprocess, "Popen", start_late)
    with pytest.raises(ConfigurationError, match="the process that opens stores was killed"):
        opener.client(Store("PKCS12", "f", hidden(2**31 - 1), PASSWORD))
    closing.join()
