"""`webhooks worker` that continuously restarts its fetcher and resumes its flow, as Faust does at a rebalance."""

import asyncio
import sys

from mode.loop import use

from pipeline.app import create_app
from pipeline.config.definition import configured_definition
from pipeline.config.settings import Settings


def main() -> None:
    """Run a worker with the settings in the environment."""
    use("uvloop")
    settings = Settings()
    app = create_app(settings, configured_definition(settings))

    async def restart_the_fetcher() -> None:
        while not app.should_stop:
            await asyncio.sleep(0.02)
            if not app.rebalancing:
                await app._stop_fetcher()
                await app._fetcher.maybe_start()

    async def resume_the_flow() -> None:
        while not app.should_stop:
            await asyncio.sleep(0)
            if not app.rebalancing:
                app.flow_control.resume()

    app.task(restart_the_fetcher)
    app.task(resume_the_flow)
    sys.argv = ["webhooks", "worker"]
    app.main()


if __name__ == "__main__":
    main()
