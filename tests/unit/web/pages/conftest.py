"""The pages of a cluster that a test describes, on the web application that Faust builds."""

from collections.abc import AsyncIterator
from typing import Any, cast

import faust
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pipeline.config.definition import parse_definition
from pipeline.core.subscription import Subscription
from pipeline.core.webhook_ids import WebhookIds
from pipeline.observability.telemetry import Telemetry
from pipeline.subscriptions.registry import Registry
from pipeline.web import BUILT_IN_PAGES_OFF, Access, PageSources, attach_pages, web_options
from pipeline.web.admin_tokens import AdminTokens
from pipeline.web.jwks import KeySet, parse_key_set
from pipeline.web.key_ring import KeyRing
from tests.support.core import subscription
from tests.support.fixed_view import NOW, FixedView
from tests.support.issuer import SigningKey, key_set
from tests.support.tokens import ManualClock

TOKEN = "the-admin-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
KEY = SigningKey.make("k1")

Client = TestClient[web.Request, web.Application]


class FixedRegistry:
    """The records of a view's subscriptions."""

    def __init__(self, view: FixedView) -> None:
        self._view = view
        self.documents: dict[str, dict[str, Any]] = {}

    def get(self, subscription_id: str) -> Subscription | None:
        found = self._view.state(subscription_id)
        return None if found is None else subscription(found.id, metadata=found.metadata)

    def ids(self) -> list[str]:
        return sorted(each.id for each in self._view.items)

    def masked(self, subscription_id: str) -> dict[str, Any] | None:
        return self.documents.get(subscription_id, {"id": subscription_id})


async def _no_keys() -> KeySet:
    raise AssertionError("the keys are known")


@pytest.fixture
def view() -> FixedView:
    return FixedView()


@pytest.fixture
def registry(view: FixedView) -> FixedRegistry:
    return FixedRegistry(view)


@pytest.fixture
def clock() -> ManualClock:
    found = ManualClock()
    found.time = NOW
    return found


@pytest.fixture
def app(view: FixedView, registry: FixedRegistry, clock: ManualClock) -> faust.App:
    keys = KeyRing(_no_keys, parse_key_set(key_set(KEY)))
    access = Access(TOKEN, AdminTokens(keys, "orders", "tenant"))
    consumer = {"consumer": {"enabled": True, "topics": ["events"], "autoOffsetReset": "earliest"}}
    endpoint = {
        "name": "source",
        "type": "kafka",
        "configuration": {"bootstrapServers": "127.0.0.1:9"},
        "sharedConfigurationOverride": consumer,
    }
    entrypoint = {"type": "webhook-advanced", "routing": "key", "configuration": {}}
    definition = parse_definition(
        {
            "name": "orders",
            "listeners": [{"type": "subscription", "entrypoints": [entrypoint]}],
            "endpointGroups": [{"name": "source", "type": "kafka", "endpoints": [endpoint]}],
        }
    )
    found = faust.App(
        "orders", broker="kafka://127.0.0.1:9", web_application_options=web_options(access), **BUILT_IN_PAGES_OFF
    )
    known = cast("Registry", registry)
    sources = PageSources(
        "orders", lambda: "host-1:6066", definition, view, known, Telemetry(), WebhookIds((b"key",)), clock
    )
    attach_pages(found, sources, access)
    return found


@pytest.fixture
async def client(app: faust.App) -> AsyncIterator[Client]:
    async with TestClient(TestServer(await app.web.wsgi())) as found:
        yield found
