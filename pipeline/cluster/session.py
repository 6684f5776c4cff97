"""Opens the view of the cluster for the duration of one command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.cluster.view import ClusterView
from pipeline.config.definition import Definition
from pipeline.config.settings import Settings
from pipeline.core.errors import BrokerError
from pipeline.subscriptions.session import READ_SECONDS, opened_registry


@asynccontextmanager
async def opened_view(settings: Settings, definition: Definition) -> AsyncIterator[ClusterView]:
    """Open a view that has read all topics to their ends.

    The view is stopped at the end. Its `problems` name what can't be read. Later changes of subscriptions are not
    followed.

    Raises:
        BrokerError: the cluster can't be reached, or the topics do not exist or can't be read in time.
    """
    async with opened_registry(settings, definition) as registry:
        view = ClusterView(settings.app, definition.source, definition.stated_routing, registry)
        for subscription in registry.all():
            view.on_subscription(subscription.id, subscription)
        await view.start()
        try:
            await _read(view)
            yield view
        finally:
            await view.stop()


async def _read(view: ClusterView) -> None:
    try:
        async with asyncio.timeout(READ_SECONDS):
            await view.ready()
    except TimeoutError:
        message = f"the state of the cluster could not be read within {READ_SECONDS:.0f} s"
        raise BrokerError("; ".join((message, *view.problems()))) from None
