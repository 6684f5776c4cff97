"""The operations that look at the whole cluster."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pipeline.cluster.failures import FAILING, grouped
from pipeline.cluster.joining import Reason, shape
from pipeline.cluster.state import STATES, FailureGroup, State, StateFilter, SubscriptionState
from pipeline.web.api.models import Cluster, Failures
from pipeline.web.api.operations import Answer, Call, Operation
from pipeline.web.api.states import View, each_state, limited, shown_groups, shown_worker
from pipeline.web.principal import Principal


class ClusterOperations:
    """The operations.

    Args:
        view: knows the cluster.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        return (
            Operation("GET", "/api/cluster", self.show_cluster, {HTTPStatus.OK: Cluster}),
            Operation("GET", "/api/failures", self.list_failures, {HTTPStatus.OK: Failures}),
        )

    async def show_cluster(self, call: Call) -> Answer:
        """Show the workers and how many subscriptions stand in each state.

        With a token that is limited to a tenant, only the numbers of its subscriptions.
        """
        view = self._view
        if call.principal.tenant:
            totals = await self._totals_of(call.principal)
            return Answer({"workers": [], "totals": totals, "problems": [], "isCurrent": view.is_current})
        totals = {**await view.totals()}
        workers = [shown_worker(worker) for worker in view.workers()]
        return Answer({"workers": workers, "totals": totals, "problems": view.problems(), "isCurrent": view.is_current})

    async def list_failures(self, call: Call) -> Answer:
        """List the subscriptions that fail, are tried again or are broken, grouped by cause and host.

        In `message`, … stands for what differs inside of a group. `ids` are the first hundred.
        """
        principal = call.principal
        groups = await (self._failures_of(principal) if principal.tenant else self._view.failures())
        return Answer({"groups": shown_groups(groups)})

    async def _totals_of(self, principal: Principal) -> Mapping[State, int]:
        totals = dict.fromkeys(STATES, 0)
        async for state in each_state(self._view, limited(StateFilter(), principal)):
            totals[state.state] += 1
        return totals

    async def _failures_of(self, principal: Principal) -> list[FailureGroup]:
        wanted = limited(StateFilter(states=FAILING), principal)
        return grouped([(each.id, each.host, _reason(each)) async for each in each_state(self._view, wanted)])


def _reason(state: SubscriptionState) -> Reason:
    if state.cause is not None:
        return Reason(
            state.state, state.cause.kind, shape(state.cause.message), state.cause.message, state.failing_since
        )
    text = state.problem or (state.error.message if state.error is not None else "")
    kind = "configuration" if state.problem is not None else "retrying"
    return Reason(state.state, kind, shape(text), text, state.failing_since)
