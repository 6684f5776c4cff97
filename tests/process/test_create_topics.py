"""Runs deploy/create_topics.py, which compose.yaml uses, without a broker; tests/broker/test_image.py uses a broker."""

import runpy
import subprocess
import sys
from pathlib import Path

from pipeline.runtime.topics import BROKER_DEFAULT
from tests.support.free_ports import free_port

SCRIPT = Path(__file__).parents[2] / "deploy" / "create_topics.py"


def test_without_a_broker_create_topics_prints_one_line() -> None:
    bootstrap = f"127.0.0.1:{free_port()}"

    ran = subprocess.run([sys.executable, SCRIPT, bootstrap, "orders:8"], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(f"{bootstrap}: KafkaConnectionError")
    assert "Traceback" not in ran.stderr


def test_the_brokers_decide_the_number_of_replicas_of_a_topic() -> None:
    new = runpy.run_path(str(SCRIPT))["topic"]("orders:8")

    assert (new.name, new.num_partitions, new.replication_factor) == ("orders", 8, BROKER_DEFAULT)
