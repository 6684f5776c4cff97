"""The operations that show the state of the whole cluster."""

from collections.abc import Sequence
from http import HTTPStatus

from pipeline.cluster.shown import shown_groups, shown_worker
from pipeline.cluster.state import StateFilter
from pipeline.web.api.cluster_models import Cluster, FailureQuery, Failures
from pipeline.web.api.lookup import Lookup
from pipeline.web.api.operations import ApiAnswer, Call, Operation
from pipeline.web.api.states import View, limited


class ClusterOperations:
    """The operations that show the cluster.

    Args:
        lookup: limits concurrent searches through all subscriptions.
    """

    def __init__(self, view: View, lookup: Lookup) -> None:
        self._view = view
        self._lookup = lookup

    def operations(self) -> Sequence[Operation]:
        """The operations with their paths."""
        return (
            Operation("GET", "/api/cluster", self.show_cluster, {HTTPStatus.OK: Cluster}),
            Operation("GET", "/api/failures", self.list_failures, {HTTPStatus.OK: Failures}, query=FailureQuery),
        )

    async def show_cluster(self, call: Call) -> ApiAnswer:
        """Show the workers, and the number of subscriptions in each state.

        With a token that is limited to a tenant, the answer contains only the numbers of the tenant's subscriptions.
        """
        view = self._view
        if call.principal.tenant:
            async with self._lookup.turns.turn(call.principal):
                totals = await view.totals(limited(StateFilter(), call.principal))
            return ApiAnswer({"workers": [], "totals": {**totals}, "problems": [], "isCurrent": view.is_current})
        async with self._lookup.turns.turn(call.principal):
            totals = await view.totals()
        workers = [shown_worker(worker) for worker in view.workers()]
        return ApiAnswer(
            {"workers": workers, "totals": {**totals}, "problems": view.problems(), "isCurrent": view.is_current}
        )

    async def list_failures(self, call: Call) -> ApiAnswer:
        """List the subscriptions that fail, retry, are broken or only have dead letters, grouped by cause and host.

        The answer contains the `limit` largest groups. In `message`, … replaces the parts that vary within a group.
        `ids` contains the first hundred ids. `waiting` is the exact number of waiting events; it is null if unknown.
        `waitingAtMost` may also be null, for example if hundreds of subscriptions fail.
        """
        query: FailureQuery = call.query
        wanted = limited(StateFilter(), call.principal)
        async with self._lookup.turns.turn(call.principal):
            groups = await self._view.failures(wanted)
        shown = shown_groups(groups[: query.limit])
        return ApiAnswer({"groups": shown, "more": len(groups) - len(shown)})
