"""A worker process, and the answers of its web view."""

import asyncio
import json
import re
import signal
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.fork_server import ForkedProcess

ADMIN_TOKEN = "planted-admin-token"


class Worker:
    """A worker process."""

    def __init__(self, process: asyncio.subprocess.Process | ForkedProcess, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    async def text(self, path: str) -> str:
        """The answer of the worker's web view at *path* as text; empty while the web view does not answer."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as response,
            ):
                return await response.text()
        except aiohttp.ClientError:
            return ""

    async def get(self, path: str) -> Any:
        """The answer of the worker's web view at *path* as JSON; None while the web view does not answer."""
        text = await self.text(path)
        return json.loads(text) if text else None

    async def is_ready(self) -> bool:
        """Whether /health/ready reports that the worker is ready."""
        health = await self.get("/health/ready")
        return health is not None and bool(health["ready"])

    async def partitions(self) -> list[int]:
        """The open partitions of the worker, according to its metrics."""
        text = await self.text("/metrics")
        found = re.findall(r'^webhooks_dispatched_offset\{.*partition="(\d+)".*\}', text, re.MULTILINE)
        return [int(number) for number in found]

    async def lanes(self) -> list[dict[str, Any]]:
        """The lanes of the worker, according to /lanes."""
        answer = await self.get("/lanes?limit=1000")
        return [] if answer is None else list(answer["lanes"])

    @property
    def is_running(self) -> bool:
        """Whether the process is running."""
        return self.process.returncode is None

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process if it is running."""
        if self.is_running:
            self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def terminate(self, within_seconds: float = 40.0) -> int:
        """Send SIGTERM, wait for the end of the process, and return the exit code."""
        self.send_signal(signal.SIGTERM)
        async with asyncio.timeout(within_seconds):
            return await self.process.wait()

    def output(self) -> str:
        """Everything that the process has written."""
        return self.log.read_text(errors="replace")
