"""Lists the private names of libraries that the pipeline uses, with their parameters.

A new version of a library may rename its private names without notice. After an update, these tests name the modules
that are affected. A use that is not in USED fails. Before adding a use, look for a public way (CONTRIBUTING.md).
"""

import ast
import functools
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType
from typing import Any, Final

import pytest

from tests.support.syntax import parsed

ROOT: Final = Path(__file__).parents[2]
CODE: Final = sorted(path for package in ("pipeline", "agents") for path in (ROOT / package).rglob("*.py"))

VERSIONS: Final = {
    "aiohttp": "3.14.5",
    "aiokafka": "0.14.0",
    "faust-streaming": "0.15.3",
    "mode-streaming": "0.7.1",
    "python-socks": "3.2.1",
}
"""The versions for which USED was written."""

LIBRARIES: Final = frozenset({"aiohttp", "aiohappyeyeballs", "aiokafka", "click", "faust", "mode", "python_socks"})
"""The packages whose classes are searched for names that subclasses in the pipeline use."""

PUBLIC: Final = frozenset({"_asdict", "_current_frames", "_exit", "_fields", "_make", "_replace"})
"""Documented names of the standard library: of `sys`, of `os`, and the methods of named tuples."""

HELD: Final = "an attribute"

USED: Final = {
    "pipeline/cli/faust_commands.py": {
        "faust.cli.base:_Group": HELD,
    },
    "pipeline/http/connection.py": {
        "aiohttp.streams:DataQueue._buffer": HELD,
        "aiohttp.streams:DataQueue._exception": HELD,
        "aiohttp.streams:DataQueue._loop": HELD,
        "aiohttp.base_protocol:BaseProtocol._parser": HELD,
        "aiohttp.base_protocol:BaseProtocol._pause_transport_reading": "(self)",
        "aiohttp.client_proto:ResponseHandler._payload": HELD,
    },
    "pipeline/http/connector.py": {
        "aiohttp.connector:TCPConnector._convert_hosts_to_addr_infos": "(self, hosts)",
        "aiohttp.connector:TCPConnector._create_connection": "(self, req, traces, timeout)",
        "aiohttp.connector:BaseConnector._factory": HELD,
        "aiohttp.connector:TCPConnector._get_ssl_context": "(self, req)",
        "aiohttp.connector:TCPConnector._resolve_host": "(self, host, port, traces=None)",
        "aiohttp.connector:TCPConnector._wrap_existing_connection": (
            "(self, *args, req, timeout, client_error=..., **kwargs)"
        ),
    },
    "pipeline/http/direct.py": {
        "aiohttp.connector:TCPConnector._happy_eyeballs_delay": HELD,
        "aiohttp.connector:TCPConnector._interleave": HELD,
        "aiohttp.connector:TCPConnector._socket_factory": HELD,
        "aiohttp.connector:TCPConnector._wrap_create_connection": (
            "(self, *args, addr_infos, req, timeout, client_error=..., **kwargs)"
        ),
        "aiohttp.connector:TCPConnector._wrap_existing_connection": (
            "(self, *args, req, timeout, client_error=..., **kwargs)"
        ),
    },
    "pipeline/kafka/internals.py": {
        "aiokafka.admin:AIOKafkaAdminClient._client": HELD,
        "aiokafka.admin:AIOKafkaAdminClient._send_request": "(self, request, node_id=None)",
        "aiokafka:AIOKafkaConsumer._client": HELD,
        "aiokafka:AIOKafkaConsumer._coordinator": HELD,
        "aiokafka:AIOKafkaConsumer._fetch_max_wait_ms": HELD,
        "aiokafka:AIOKafkaConsumer._fetcher": HELD,
        "aiokafka:AIOKafkaConsumer._isolation_level": HELD,
        "aiokafka:AIOKafkaConsumer._subscription": HELD,
        "aiokafka:AIOKafkaProducer._message_accumulator": HELD,
        "aiokafka:AIOKafkaProducer._sender": HELD,
        "aiokafka:AIOKafkaProducer._txn_manager": HELD,
        "aiokafka.consumer.group_coordinator:GroupCoordinator._coordination_task": HELD,
        "aiokafka.consumer.group_coordinator:GroupCoordinator._do_heartbeat": "(self)",
        "aiokafka.consumer.group_coordinator:GroupCoordinator._pending_exception": HELD,
        "aiokafka.consumer.group_coordinator:GroupCoordinator._send_req": "(self, request)",
        "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": "(self, assignment, node_id, request)",
        "aiokafka.producer.message_accumulator:MessageAccumulator._batches": HELD,
        "aiokafka.producer.message_accumulator:MessageBatch._drain_waiter": HELD,
        "aiokafka.producer.sender:AddPartitionsToTxnHandler": "(sender, topic_partitions)",
        "aiokafka.producer.sender:BaseHandler._sender": HELD,
    },
    "pipeline/kafka/lost_connections.py": {
        "aiokafka.client:AIOKafkaClient._metadata_update": "(self, cluster_metadata, topics)",
    },
    "pipeline/kafka/records.py": {
        "aiokafka.consumer.fetcher:Fetcher._set_error": "(self, tp, error)",
        "aiokafka.consumer.fetcher:MemoryRecords": HELD,
        "aiokafka.consumer.fetcher:PartitionRecords": (
            "(tp, records, aborted_transactions, fetch_offset, "
            "key_deserializer, value_deserializer, check_crcs, isolation_level)"
        ),
        "aiokafka.consumer.fetcher:PartitionRecords._key_deserializer": HELD,
        "aiokafka.consumer.fetcher:PartitionRecords._records": HELD,
        "aiokafka.consumer.fetcher:PartitionRecords._records_iterator": HELD,
        "aiokafka.consumer.fetcher:PartitionRecords._unpack_records": "(self)",
        "aiokafka.record.default_records:_DefaultRecordBatchPy": "(buffer)",
        "aiokafka.record.default_records:_DefaultRecordBatchPy._buffer": HELD,
        "aiokafka.record.default_records:_DefaultRecordBatchPy._pos": HELD,
        "aiokafka.record.default_records:_DefaultRecordBatchPy._read_msg": "(self, decode_varint=...)",
        "aiokafka.record.default_records:_DefaultRecordPy": "(offset, timestamp, timestamp_type, key, value, headers)",
        "aiokafka.record.memory_records:_MemoryRecordsPy": "(bytes_data)",
        "aiokafka.record.memory_records:_MemoryRecordsPy._next_slice": HELD,
    },
    "pipeline/runtime/application.py": {
        "faust:App._consumer": HELD,
        "faust:App._new_transport": "(self)",
        "faust.transport.drivers.aiokafka:Producer._producer": HELD,
    },
    "pipeline/runtime/assignor.py": {
        "faust.assignor:PartitionAssignor._perform_assignment": "(self, cluster, member_metadata)",
        "faust.assignor:PartitionAssignor._protocol_assignments": (
            "(self, assignments, cl_distribution, tp_distribution, topic_groups)"
        ),
        "faust.assignor:PartitionAssignor._table_manager": HELD,
    },
    "pipeline/runtime/consumer.py": {
        "faust.transport.consumer:Consumer._active_partitions": HELD,
        "faust.transport.consumer:Consumer._buffered_partitions": HELD,
        "faust.transport.consumer:Consumer._drain_messages": "(self, fetcher)",
        "faust.transport.consumer:Consumer._read_offset": HELD,
        "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": "(self)",
        "faust.transport.consumer:ThreadDelegateConsumer._thread": HELD,
        "faust.transport.drivers.aiokafka:Consumer._to_message": "(self, tp, record)",
        "faust.transport.consumer:Consumer._wait_next_records": "(self, timeout)",
    },
    "pipeline/runtime/consumer_thread.py": {
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._consumer": HELD,
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": "(self, transport)",
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._ensure_consumer": "(self)",
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
            "(self, consumer, active_partitions, timeout=None, max_records=None)"
        ),
        "faust.transport.drivers.aiokafka:ConsumerRebalanceListener._thread": HELD,
        "mode.threads:ServiceThread._gather_remaining_tasks": "(self)",
        "mode.threads:ServiceThread._keepalive2": "(self)",
        "mode.threads:ServiceThread._serve": "(self)",
    },
    "pipeline/runtime/retrying_consumer.py": {
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._consumer": HELD,
        "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
            "(self, consumer, active_partitions, timeout=None, max_records=None)"
        ),
    },
    "pipeline/web/gate.py": {
        "aiohttp.web:BaseRequest._payload": HELD,
        "aiohttp.web:RequestHandler._current_request": HELD,
        "aiohttp.web:RequestHandler._messages": HELD,
    },
    "pipeline/web/server.py": {
        "faust.web.drivers.aiohttp:Web._runner": HELD,
    },
}
"""For each module, the private or replaced names that it uses, with their parameters if they are called."""


# ----------------------------------------------------------- the parameters of the names


def parameters(function: Any) -> str:
    """The parameters of a function: names, kinds, and which of them have a default."""
    found = inspect.signature(function)
    bare = [
        each.replace(annotation=each.empty, default=each.default if each.default in (None, each.empty) else Default())
        for each in found.parameters.values()
    ]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def original(found: Any) -> Any:
    """The original of a name in a library, even if the pipeline replaces it."""
    return next(each for each in found.__mro__ if is_foreign(each)) if inspect.isclass(found) else found


def is_foreign(found: type) -> bool:
    return found.__module__.split(".")[0] in LIBRARIES


class Default:
    def __repr__(self) -> str:
        return "..."


@functools.cache
def private_names(library_class: type) -> frozenset[str]:
    """The private names that a class itself defines, or that its methods set."""
    names = set(vars(library_class))
    try:
        source = textwrap.dedent(inspect.getsource(library_class))
    except (OSError, TypeError):  # written in C, so there is no source
        source = ""
    names |= {
        node.attr
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value)
    }
    return frozenset(filter(is_private, names))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in PUBLIC


def is_own(value: ast.expr) -> bool:
    match value:
        case ast.Name("self" | "cls") | ast.Call(func=ast.Name("super")):
            return True
        case _:
            return False


@pytest.mark.parametrize("library", VERSIONS)
def test_the_installed_version_is_the_one_that_was_examined(library: str) -> None:
    assert version(library) == VERSIONS[library]


@pytest.mark.parametrize(("path", "shape"), sorted({pinned for names in USED.values() for pinned in names.items()}))
def test_a_pinned_private_name_exists_with_its_parameters(path: str, shape: str) -> None:
    package, _, inner = path.partition(":")
    holder_name, _, name = inner.rpartition(".")
    holder = resolve_name(f"{package}:{holder_name}")
    if shape != HELD:
        assert parameters(original(getattr(holder, name))) == shape
    elif inspect.isclass(holder):
        assert any(name in private_names(each) for each in holder.__mro__)
    else:
        assert hasattr(holder, name)


# ----------------------------------------------------------- the names that the pipeline uses


def uses(source: str, module: ModuleType) -> Iterator[str]:
    """The private names of other packages that the text of a module uses."""
    for node in ast.walk(parsed(source)):
        match node:
            case ast.ImportFrom(module=str(package), names=names) if package.split(".")[0] in LIBRARIES:
                yield from (alias.name for alias in names if is_private(alias.name))
            case ast.Attribute(value=value, attr=name) if is_private(name) and not is_own(value):
                yield name
            case ast.Attribute(value=ast.Name(owner), attr=name, ctx=ast.Store()):
                if inspect.ismodule(getattr(module, owner, None)):
                    yield name  # the pipeline replaces this name in the library
            case ast.ClassDef(name=name):
                yield from names_of_bases(node, getattr(module, name, None))
            case _:
                pass


def names_of_bases(node: ast.ClassDef, made: type | None) -> Iterator[str]:
    """The private names of a library's classes that a subclass uses or overrides."""
    bases = [] if made is None else list(filter(is_foreign, made.__mro__))
    for each in ast.walk(node):
        match each:
            case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                pass
            case ast.AnnAssign(target=ast.Name(name)) | ast.Assign(targets=[ast.Name(name)]):
                pass
            case _:
                continue
        if any(name in private_names(base) for base in bases):
            yield name


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


@pytest.mark.parametrize("path", [path.relative_to(ROOT).as_posix() for path in CODE])
def test_every_private_name_in_use_is_pinned(path: str) -> None:
    pinned = {name.replace(":", ".").rpartition(".")[2] for name in USED.get(path, {})}
    assert set(uses((ROOT / path).read_text(), module_of(ROOT / path))) == pinned


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("_sender", "def end(producer):\n    return producer._sender"),
        ("_sender", "async def end(app):\n    (await app.get())._sender = None"),
        ("_MemoryRecordsPy", "from aiokafka.record.memory_records import _MemoryRecordsPy as Records"),
        ("MemoryRecords", "from aiokafka.consumer import fetcher\nfetcher.MemoryRecords = None"),
        ("_factory", "from aiohttp import TCPConnector\nclass C(TCPConnector):\n    _factory = None"),
        ("_factory", "from aiohttp import TCPConnector\nclass C(TCPConnector):\n    _factory: object"),
        ("_factory", "from aiohttp import TCPConnector\nclass C(TCPConnector):\n    def a(self): self._factory()"),
        ("_resolve_host", "import aiohttp\nclass C(aiohttp.TCPConnector):\n    async def _resolve_host(self): ..."),
        ("_producer", "import faust\nclass A(faust.App): pass\nclass B(A):\n    def a(self): super()._producer"),
    ],
)
def test_a_use_of_a_private_name_is_found(name: str, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from aiokafka.consumer import fetcher  # noqa: PLC0415 - one of the sources replaces a name in it

    monkeypatch.setattr(fetcher, "MemoryRecords", fetcher.MemoryRecords)
    assert set(uses(source, made_of(source))) == {name}


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self): self._own = 1",
        "from aiohttp import TCPConnector\nclass C(TCPConnector):\n    def a(self): self._ours = self.__class__",
        "key = []\nkey.one = key._replace(two=3)",
    ],
)
def test_private_names_of_the_pipeline_s_classes_do_not_count(source: str) -> None:
    assert set(uses(source, made_of(source) if "key" not in source else ModuleType("made"))) == set()


def overrides() -> Iterator[tuple[Any, Any]]:
    """Each method that overrides a method of a library, with the overridden one."""
    made = {each for path in CODE for each in vars(module_of(path)).values() if inspect.isclass(each)}
    for each in sorted(made, key=lambda found: (found.__module__, found.__qualname__)):
        bases = [] if is_foreign(each) else list(filter(is_foreign, each.__mro__))
        for name, function in vars(each).items():
            replaced = next((vars(base)[name] for base in bases if name in vars(base)), None)
            if inspect.isfunction(function) and inspect.isfunction(replaced) and name != "__init__":
                yield function, replaced


@pytest.mark.parametrize(
    ("function", "replaced"), [pytest.param(*pair, id=pair[0].__qualname__) for pair in overrides()]
)
def test_an_override_has_the_parameters_of_the_original(function: Any, replaced: Any) -> None:
    found = inspect.signature(replaced).parameters.values()
    # If the default of a parameter is a function, the parameter only makes the lookup faster. No caller passes it.
    passed = [each for each in found if each.default is each.empty or not callable(each.default)]
    taken = inspect.signature(function).parameters
    kinds = {each.kind for each in taken.values()}
    missing = [
        each.name
        for each in passed
        if each.kind not in kinds & {each.VAR_POSITIONAL, each.VAR_KEYWORD}
        and each.name not in taken
        and not (each.kind is each.KEYWORD_ONLY and each.VAR_KEYWORD in kinds)
        and not (each.kind is each.POSITIONAL_OR_KEYWORD and {each.VAR_POSITIONAL, each.VAR_KEYWORD} <= kinds)
    ]
    assert missing == []


def made_of(source: str) -> ModuleType:
    module = ModuleType("made")
    exec(source, module.__dict__)  # noqa: S102 - the sources are above
    return module
