"""All operations of the API, including the one that describes them."""

from http import HTTPStatus
from importlib.metadata import version

import faust

from pipeline.cluster.attempt_search import AttemptSearch
from pipeline.cluster.audit import AuditLog
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.subscriptions.registry import Registry
from pipeline.subscriptions.store import SubscriptionStore
from pipeline.web.access import Access
from pipeline.web.api.actions import Actions
from pipeline.web.api.attempts import AttemptOperations
from pipeline.web.api.bulk import BulkOperations
from pipeline.web.api.cluster import ClusterOperations
from pipeline.web.api.dead_letters import DeadLetterOperations
from pipeline.web.api.events import EventOperations
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.models import OpenApiDocument
from pipeline.web.api.openapi import describe
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.secrets import SecretOperations
from pipeline.web.api.serving import Server
from pipeline.web.api.states import View
from pipeline.web.api.subscriptions import Subscriptions
from pipeline.web.api.writing import Writing


def attach_api(
    app: faust.App,
    settings: Settings,
    definition: Definition,
    *,
    registry: Registry,
    store: SubscriptionStore,
    view: View,
    audit: AuditLog,
    access: Access,
) -> None:
    """Register the API.

    Args:
        app: the app, made with `web_options`.
        settings: the settings of the worker.
        definition: the API definition.
        registry: the subscriptions of the worker.
        store: the store, which uses `registry`. It is not open yet; the caller closes it.
        view: the view of the cluster.
        audit: records changes; the caller closes it.
        access: who may use the API.
    """
    lookup, writing = Lookup(registry), Writing(store)
    search = AttemptSearch(definition, settings.app, registry, settings.webhook_ids)
    parts = (
        ClusterOperations(view, lookup),
        EventOperations(settings, definition, registry, lookup),
        DeadLetterOperations(settings, definition, registry, lookup),
        AttemptOperations(search, registry, lookup),
        SecretOperations(registry, lookup, writing),
        BulkOperations(lookup, view, writing),
        Subscriptions(registry, lookup, view, writing, definition),
        Actions(settings, definition, lookup, writing, view),
    )

    async def describe_api(_call: Call) -> ApiAnswer:
        """Describe this API as OpenAPI 3.1."""
        return ApiAnswer(document)

    operations = [
        Operation("GET", "/api/openapi.json", describe_api, {HTTPStatus.OK: OpenApiDocument}),
        *(operation for part in parts for operation in part.operations()),
    ]
    document = describe(operations, version("webhook-pipeline"))
    Server(access, audit).attach(app, operations)
