"""API definitions for the tests."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.config.kafka_endpoints import EMBEDDED
from tests.support.brokers import TestBroker


def definition_document(
    broker: TestBroker,
    topic: str,
    *,
    dlq: str | None = None,
    dlq_broker: TestBroker | None = None,
    entrypoint: Mapping[str, Any] | None = None,
    others: Iterable[str] = (),
    **configuration: Any,
) -> dict[str, Any]:
    """An API definition for tests. Dead letters go to the source's broker unless *dlq_broker* is another one.

    *others* are further source topics.
    """
    consumer = {"consumer": {"enabled": True, "topics": [topic, *others], "autoOffsetReset": "earliest"}}
    groups = [_group("source", broker, consumer)]
    webhook = {"type": "webhook-advanced", "routing": "key", "configuration": configuration, **(entrypoint or {})}
    if dlq is not None:
        groups.append(_group("dead-letters", dlq_broker or broker, {"producer": {"enabled": True, "topics": [dlq]}}))
        webhook["dlq"] = {"endpoint": "dead-letters"}
    return {"name": "test", "listeners": [{"type": "subscription", "entrypoints": [webhook]}], "endpointGroups": groups}


def _group(name: str, broker: TestBroker, shared: Mapping[str, Any]) -> dict[str, Any]:
    security = {} if broker.security is None else {"security": broker.security}
    endpoint = {
        "name": f"{name}-endpoint",
        "type": "kafka",
        "configuration": {"bootstrapServers": f"{EMBEDDED if broker.embedded else ''}{broker.bootstrap}"},
        "sharedConfigurationOverride": {**security, **shared},
    }
    return {"name": name, "type": "kafka", "endpoints": [endpoint]}
