"""Checks imports: the layers of the packages, and the packages that may use each library."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.syntax import parsed

ROOT = Path(__file__).parents[2]
CODE = sorted(path for package in ("pipeline", "agents") for path in (ROOT / package).rglob("*.py"))

LAYERS = (
    {"core"},
    {"http", "observability"},
    {"kafka", "auth"},
    {"config"},
    {"subscriptions"},
    {"cluster"},
    {"runtime", "web"},
    {"agents"},
    {"app"},
    {"worker"},
    {"cli"},
)
"""The layers, from the bottom. A module imports from its own package or from a lower layer, even for types only."""

FAUST = "app.py worker.py runtime/ kafka/connection.py cli/ web/ agents/"
KAFKA = "kafka/ runtime/ subscriptions/ cluster/ cli/"

# A pattern of imports, and the files and directories that may have them.
RULES = {
    r"(faust|mode)\b": FAUST,
    r"aiokafka\b": KAFKA,
    # All other modules use a consumer that can read any record (kafka/records.py).
    r"aiokafka\.(AIOKafkaConsumer|consumer\.(AIOKafkaConsumer|consumer|fetcher))\b": "kafka/records.py",
    # These are the names of aiohttp's client. All modules may use aiohttp's server.
    r"aiohttp(\.request|\.[Cc]lient\w*|\.connector|\.\w*Connector|$)": "http/ web/key_source.py",
    r"(aiohappyeyeballs|python_socks)\b": "http/",
    # These name lookups block or use a thread. The pipeline's resolver does neither.
    r"(aiodns|pycares|aiohttp\.\w*Resolver)\b": "http/resolver.py",
    r"(socket\.get(addrinfo|host\w*|nameinfo)|http\.client|urllib\.request\.(urlopen|build_opener))\b": "",
    r"os\.(environ|getenv)\b": "config/settings.py",
    r"(jinja2|markupsafe)\b": "web/pages/rendering.py",
    r"confluent_kafka\b": "cli/dev/embedded_broker.py",
}


def imported(source: str) -> Iterator[str]:
    """Every dotted name that a module imports, or reads from `os`."""
    for node in ast.walk(parsed(source)):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Attribute(value=ast.Name("os"), attr=name):
                yield f"os.{name}"
            case _:
                pass


def trespasses(path: str, source: str) -> list[str]:
    """The names that the module at *path* (relative to the repository) imports although it may not."""
    place = path.removeprefix("pipeline/")
    forbidden = [
        re.compile(pattern)
        for pattern, allowed in RULES.items()
        if not any(place == file or (file.endswith("/") and place.startswith(file)) for file in allowed.split())
    ]
    return [name for name in imported(source) if any(pattern.match(name) for pattern in forbidden)]


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in CODE])
def test_a_module_imports_only_allowed_libraries(path: str) -> None:
    assert trespasses(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/core/policy.py", "import faust"),
        ("pipeline/core/policy.py", "from mode.utils import times"),
        ("pipeline/core/lane.py", "from aiokafka.errors import KafkaError"),
        ("pipeline/kafka/log_reader.py", "from aiokafka import AIOKafkaConsumer"),
        ("pipeline/web/pages/worker.py", "from aiohttp import ClientSession"),
        ("pipeline/web/pages/worker.py", "from aiohttp import TCPConnector"),
        ("pipeline/web/pages/worker.py", "from aiohttp.client import request"),
        ("pipeline/web/pages/worker.py", "import aiohttp"),
        ("pipeline/http/transport.py", "from aiohttp import ThreadedResolver"),
        ("pipeline/http/ssrf_guard.py", "from socket import getaddrinfo"),
        ("pipeline/web/key_source.py", "from urllib.request import build_opener"),
        ("pipeline/kafka/connection.py", "import os\nos.environ['X']"),
        ("pipeline/kafka/connection.py", "from os import getenv"),
        ("agents/deliver.py", "def late():\n    import confluent_kafka"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(trespasses(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agents/deliver.py", "import faust"),
        ("pipeline/cluster/sending.py", "from aiokafka import AIOKafkaProducer"),
        ("pipeline/web/pages/worker.py", "from aiohttp import web\nfrom aiohttp.typedefs import Handler"),
        ("pipeline/http/transport.py", "import aiohttp"),
        ("pipeline/core/lane.py", "import os, faustus, modem\nos.path"),
    ],
)
def test_an_allowed_import_is_accepted(path: str, source: str) -> None:
    assert trespasses(path, source) == []


def package_of(path: str) -> str:
    """The package of a module, or the module itself if it is at the root."""
    return path.removeprefix("pipeline/").split("/")[0].removesuffix(".py")


def climbs(path: str, source: str) -> list[str]:
    """The imports of the module at *path* (relative to the repository) that are not from a lower layer."""
    rank = {package: number for number, layer in enumerate(LAYERS) for package in layer}
    own = package_of(path)
    targets = {name: name.removeprefix("pipeline.").split(".")[0] for name in imported(source)}
    return [
        name
        for name, target in targets.items()
        if name.split(".")[0] in {"pipeline", "agents"} and target != own and rank[target] >= rank[own]
    ]


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in CODE if path.parent.name != "pipeline"])
def test_modules_import_only_lower_layers(path: str) -> None:
    assert climbs(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", ["pipeline/app.py", "pipeline/worker.py"])
def test_root_modules_import_only_lower_layers(path: str) -> None:
    assert climbs(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pipeline/core/lane.py", "from pipeline.observability.status import LaneReport"),
        ("pipeline/core/lane.py", "if TYPE_CHECKING:\n    from pipeline.kafka.cursors import KafkaRows"),
        ("pipeline/http/tls.py", "from pipeline.observability import logs"),
        ("pipeline/runtime/consumer.py", "import pipeline.app"),
        ("agents/deliver.py", "from pipeline.app import create_app"),
    ],
)
def test_an_upward_import_is_found(path: str, source: str) -> None:
    assert len(climbs(path, source)) == 1


def test_every_package_has_its_layer() -> None:
    assert {package_of(path.relative_to(ROOT).as_posix()) for path in CODE} - {"__init__"} == set().union(*LAYERS)


def test_the_core_loads_no_library_for_io() -> None:
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in CODE if path.parent.name == "core"]
    code = f"""
import importlib, sys
for name in {modules}:
    importlib.import_module(name)
print(*{{"aiokafka", "faust", "mode", "aiohttp", "pydantic"}} & set(sys.modules))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert ended.stdout.split() == []


PACKAGES = sorted(path.parent for path in (ROOT / "pipeline").rglob("__init__.py") if path.parent.name != "pipeline")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.relative_to(ROOT).as_posix())
def test_a_package_s_docstring_lists_its_modules(package: Path) -> None:
    docstring = ast.get_docstring(parsed((package / "__init__.py").read_text())) or ""
    columns = [line.split("  ")[0] for line in docstring.splitlines() if "  " in line]
    named = sorted(name.strip() for column in columns for name in column.split(","))
    there = [path.stem for path in package.glob("*.py") if path.stem != "__init__"]
    inner = [path.name for path in package.iterdir() if (path / "__init__.py").exists()]
    assert named == sorted(there + inner)
