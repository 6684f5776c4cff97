"""Finds the parts of a Gravitee API whose loss receivers would notice.

These parts decide which events receivers get, or what the events contain. A loss is an error unless the user accepts it
by name. All other parts without effect are only listed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.shown import shown

FLOWS: Final = "flows"
SELECTION_RULES: Final = "selection-rules"
CONFLUENT_HEADER: Final = "confluent-header"
EXPRESSIONS: Final = "expressions"
NAMES: Final = (FLOWS, SELECTION_RULES, CONFLUENT_HEADER, EXPRESSIONS)

_PHASES: Final = ("request", "response", "subscribe")
"""The phases of a flow that affect webhooks. All other phases are for producers."""
_OTHERWISE: Final[Mapping[str, str]] = {
    "message-filtering": "give each subscription a filter",
    "transform-headers": "give each subscription its headers",
    "rate-limit": "give each subscription a rate",
    "quota": "give each subscription a rate",
    "spike-arrest": "give each subscription a rate",
    "assign-attributes": "write the values into the definition; name the groups with --from-group SUBSCRIPTION=GROUP",
}
"""The replacement of each policy."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of an API that is lost, and whose loss receivers would notice.

    Attributes:
        name: the name with which a user accepts the loss; one of NAMES.
        what: what the part does in Gravitee, and what replaces it here.
    """

    name: str
    path: str
    what: str

    def __str__(self) -> str:
        """The error message."""
        return f"{self.path}: {self.what}; webhooks import-gravitee --accept-ignored {self.name} accepts the loss"


def losses(api: Mapping[str, Any]) -> list[Loss]:
    """The losses of an API and its plans."""
    return [*_flows(api.get("flows"), "flows"), *_plans(api.get("plans")), *_confluent_headers(api)]


def _plans(plans: object) -> Iterator[Loss]:
    for path, plan in _items(plans, "plans"):
        if _upper(plan, "mode") == "STANDARD" or _upper(plan, "status") == "CLOSED":
            continue  # a plan of this kind has no webhook subscriptions
        rule = plan.get("selectionRule")
        if isinstance(rule, str) and rule.strip():
            what = f"{shown(rule)} selects the plan by an expression; give each subscription a filter"
            yield Loss(SELECTION_RULES, f"{path}.selectionRule", what)
        yield from _flows(plan.get("flows"), f"{path}.flows")


def _flows(flows: object, path: str) -> Iterator[Loss]:
    for flow_path, flow in _items(flows, path):
        if flow.get("enabled") is False or not _is_of_webhooks(flow):
            continue
        for phase in _PHASES:
            for step_path, step in _items(flow.get(phase), f"{flow_path}.{phase}"):
                if step.get("enabled") is not False:
                    yield Loss(FLOWS, step_path, _policy(step))


def _policy(step: Mapping[str, Any]) -> str:
    policy = step.get("policy")
    otherwise = _OTHERWISE.get(
        policy if isinstance(policy, str) else "", "do what the policy does before events reach the topic"
    )
    return f"Gravitee applies the policy {shown(policy)}, which this pipeline does not have; {otherwise}"


def _is_of_webhooks(flow: Mapping[str, Any]) -> bool:
    for _, selector in _items(flow.get("selectors"), ""):
        operations, entrypoints = selector.get("operations"), selector.get("entrypoints")
        if (
            isinstance(operations, list)
            and operations
            and "SUBSCRIBE" not in {str(each).upper() for each in operations}
        ):
            return False
        if (
            isinstance(entrypoints, list)
            and entrypoints
            and not {"webhook", "webhook-advanced"} & set(map(str, entrypoints))
        ):
            return False
    return True


def _confluent_headers(api: Mapping[str, Any]) -> Iterator[Loss]:
    for path, group in _items(api.get("endpointGroups"), "endpointGroups"):
        places = [(f"{path}.sharedConfiguration", group.get("sharedConfiguration"))]
        places += [
            (f"{endpoint_path}.sharedConfigurationOverride", endpoint.get("sharedConfigurationOverride"))
            for endpoint_path, endpoint in _items(group.get("endpoints"), f"{path}.endpoints")
        ]
        for place, shared in places:
            match shared:
                case {"consumer": {"enabled": True, "removeConfluentHeader": True}}:
                    what = (
                        "Gravitee removes the five-byte prefix of the schema registry, which receivers would get here; "
                        "produce events without it"
                    )
                    yield Loss(CONFLUENT_HEADER, f"{place}.consumer.removeConfluentHeader", what)
                case _:
                    continue


def _items(items: object, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of a list, or of an object by name, with their paths."""
    pairs: list[tuple[str, object]] = []
    if isinstance(items, list):
        pairs = [(f"{path}[{index}]", each) for index, each in enumerate(items)]
    elif isinstance(items, Mapping):
        pairs = [(f"{path}.{name}", each) for name, each in items.items()]
    yield from ((place, each) for place, each in pairs if isinstance(each, Mapping))


def _upper(part: Mapping[str, Any], name: str) -> str:
    return str(part.get(name) or "").upper()
