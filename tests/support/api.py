"""The API of workers that deliver nothing, with a real store on a broker, served by Faust's web application."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faust
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from cryptography.fernet import Fernet
from pydantic import SecretStr

from pipeline.cluster.audit import AuditLog
from pipeline.cluster.view import ClusterView
from pipeline.config.definition import Definition, parse_definition
from pipeline.config.settings import Settings
from pipeline.core.clock import SystemClock
from pipeline.core.model import Cause, Cursor, Status
from pipeline.kafka.cursors import KafkaRows
from pipeline.kafka.topics import attempts_topic, audit_topic, workers_topic
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.secrets import SecretBox
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web import BUILT_IN_PAGES_OFF, Access, attach_api, web_options
from pipeline.web.admin_tokens import AdminTokens
from pipeline.web.jwks import KeySet, parse_key_set
from pipeline.web.key_ring import KeyRing
from tests.support.brokers import TestBroker
from tests.support.definitions import definition_document
from tests.support.issuer import SigningKey, key_set

TOKEN = "planted-admin-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOOK = "https://receiver.example/hook"

KEY = SigningKey.make("k1")

Client = TestClient[web.Request, web.Application]


def document(name: str | None = "sub-1", **options: Any) -> dict[str, Any]:
    """The document of a subscription. *options* are fields of its entrypointConfiguration."""
    found: dict[str, Any] = {"configuration": {"entrypointConfiguration": {"callbackUrl": HOOK, **options}}}
    return found if name is None else {"id": name, **found}


@dataclass
class ApiWorker:
    """A worker that delivers nothing: its application, registry, store, view and audit log."""

    app: faust.App
    registry: Registry
    store: SubscriptionStore
    view: ClusterView
    audit: AuditLog

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Start the worker's parts, and yield an administrator's client of its API."""
        async with AsyncExitStack() as stack:
            await self.registry.start(self.view.on_subscription)
            stack.push_async_callback(self.registry.stop)
            stack.push_async_callback(self.store.close)
            stack.push_async_callback(self.audit.close)
            await self.registry.ready()
            await self.view.start()
            stack.push_async_callback(self.view.stop)
            server = TestServer(await self.app.web.wsgi())
            yield await stack.enter_async_context(TestClient(server, headers=BEARER))


async def _no_keys() -> KeySet:
    raise AssertionError("the keys are known")


def token(tenant: Mapping[str, str], scope: str = "read write secrets", name: str = "somebody") -> dict[str, str]:
    """The headers of a client with a signed token."""
    return {"Authorization": f"Bearer {KEY.token(sub=name, scope=scope, tenant=dict(tenant))}"}


class ApiCluster:
    """The workers of one application. They are made before an event loop exists, as in a worker process."""

    def __init__(
        self, broker: TestBroker, name: str, *, routing: str = "key", partitions: int = 2, dlq: bool = False
    ) -> None:
        assert broker.mock is not None
        self.broker = broker
        self.name = name
        self.topic = f"{name}-events"
        self.definition: Definition = parse_definition(
            definition_document(broker, self.topic, dlq=f"{name}-dlq" if dlq else None, entrypoint={"routing": routing})
        )
        self._key = Fernet.generate_key().decode()
        self.settings = Settings(api=Path("api.yaml"), app=name, secret_keys=(SecretStr(self._key),))
        broker.mock.create_topic(self.topic, partitions)
        broker.mock.create_topic(f"{name}.subscriptions", 1)
        broker.mock.create_topic(f"{name}.cursors", partitions)
        broker.mock.create_topic(audit_topic(name), 1)
        broker.mock.create_topic(attempts_topic(name), 1)
        broker.mock.create_topic(workers_topic(name), 1)
        if dlq:
            broker.mock.create_topic(f"{name}-dlq", 1)

    def worker(self) -> ApiWorker:
        """Add a worker."""
        connection, topic, box = self.broker.connection, f"{self.name}.subscriptions", SecretBox([self._key])
        registry = Registry(connection, topic, box, self.definition)
        store = SubscriptionStore(registry, connection, topic, box, self.definition)
        tokens = AdminTokens(KeyRing(_no_keys, parse_key_set(key_set(KEY))), self.name, "tenant")
        access = Access(TOKEN, tokens)
        app = faust.App(
            self.name, broker="kafka://127.0.0.1:9", web_application_options=web_options(access), **BUILT_IN_PAGES_OFF
        )
        audit = AuditLog(connection, audit_topic(self.name), SystemClock())
        view = ClusterView(self.name, self.definition.source, self.definition.routing, registry)
        attach_api(
            app,
            self.settings,
            self.definition,
            registry=registry,
            store=store,
            view=view,
            audit=audit,
            access=access,
        )
        return ApiWorker(app, registry, store, view, audit)

    async def fail(self, name: str, kind: str, message: str, partition: int = 0) -> None:
        """Write the row of a subscription in FAILURE, like the owner of its partition."""
        rows = KafkaRows(self.broker.connection, f"{self.name}.cursors", partition, on_written=lambda _: None)
        await rows.open()
        try:
            await rows.put(name.encode(), Cursor(0, Status.FAILURE, Cause(kind, message, 0, 1_770_000_000.0)))
        finally:
            await rows.close()


async def problem(response: ClientResponse, status: int) -> dict[str, Any]:
    """Check that an answer is a problem (RFC 9457), and return the problem."""
    body: dict[str, Any] = await response.json(content_type="application/problem+json")
    assert (response.status, body["status"]) == (status, status), body
    assert body.keys() >= {"type", "title", "detail"}
    return body


def api_paths(app: faust.App) -> Iterator[tuple[str, str]]:
    """Method and path of every route below /api."""
    driver: Any = app.web
    for route in driver.web_app.router.routes():
        path = route.resource.canonical
        if path.startswith("/api") and route.method != "HEAD":
            yield route.method, path
