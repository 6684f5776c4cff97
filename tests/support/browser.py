"""Controls headless Chromium with its own protocol (CDP) over a WebSocket, so that no driver is needed."""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiohttp import ClientSession, ClientWebSocketResponse

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""The path of the browser; None: tests that need a browser are skipped."""

START_SECONDS: Final = 60.0
ANSWER_SECONDS: Final = 60.0

OPTIONS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-sandbox",  # the browser opens only pages of this machine, and root can't use the sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class PageError(Exception):
    """An error of a page's script or of the browser."""


class Page:
    """A tab of the browser.

    Attributes:
        troubles: the errors in the tab's console, and violations of the content security policy.
    """

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.troubles: list[str] = []

    async def listen(self) -> None:
        """Read messages of the browser until it is closed."""
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                waiting = self._answers.pop(said["id"])
                if not waiting.done():
                    waiting.set_result(said)
            else:
                await self._take(said["method"], said["params"])

    async def _take(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Runtime.exceptionThrown":
                self.troubles.append(str(params["exceptionDetails"].get("exception", params)))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.troubles.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def send(self, method: str, **params: Any) -> Any:
        """Call a method of the browser, and return the result.

        Raises:
            PageError: the browser refuses the call.
        """
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        said = await asyncio.wait_for(self._answers[number], ANSWER_SECONDS)
        if "error" in said:
            raise PageError(f"{method}: {said['error']}")
        return said["result"]

    async def open(self, url: str) -> None:
        """Open *url*, and wait until it is loaded."""
        self._loaded.clear()
        found = await self.send("Page.navigate", url=url)
        if found.get("errorText"):
            raise PageError(f"{url}: {found['errorText']}")
        await asyncio.wait_for(self._loaded.wait(), ANSWER_SECONDS)

    async def run(self, script: str) -> Any:
        """Evaluate an expression, and return its value. If the value is a promise, return the promise's result.

        Raises:
            PageError: the expression throws.
        """
        found = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise PageError(f"{script}: {found['exceptionDetails']}")
        return found["result"].get("value")

    async def text(self, selector: str = "body") -> str:
        """The visible text of the first element that *selector* matches; "" without such an element."""
        return str(await self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    async def until(self, script: str, within_seconds: float = 60.0) -> None:
        """Wait until an expression is true. It is evaluated again if the page is changing to another document."""
        is_so = False
        try:
            async with asyncio.timeout(within_seconds):
                while not is_so:
                    with suppress(PageError):
                        is_so = await self.run(f"!!({script})")
                    await asyncio.sleep(0 if is_so else 0.1)
        except TimeoutError:
            raise TimeoutError(f"{script} was never true; the page:\n{await self.text()}\n{self.troubles}") from None

    async def click(self, selector: str) -> None:
        """Wait until an element is visible, and click at its centre."""
        chosen = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{chosen}?.checkVisibility() && !{chosen}.disabled")
        box = await self.run(
            f"(() => {{ const e = {chosen}; e.scrollIntoView({{block: 'center'}}); const [b] = e.getClientRects();"
            " return {x: b.x + b.width / 2, y: b.y + b.height / 2}; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **box)

    async def press(self, key: str, code: int, text: str = "") -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    async def look(self, *, width: int, height: int, dark: bool = False, phone: bool = False) -> None:
        """Set the size of the window and the preferences of its user."""
        scale = 2 if phone else 1
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=phone
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def picture(self) -> bytes:
        """A PNG of the whole page, for people to look at."""
        found = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@asynccontextmanager
async def browser() -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Start a browser. Yields a function that opens a tab."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *OPTIONS,
            f"--user-data-dir={folder}",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            address = await asyncio.wait_for(_address(process), START_SECONDS)
            async with ClientSession() as session, asyncio.TaskGroup() as tasks:
                listening: list[asyncio.Task[None]] = []

                async def new_tab() -> Page:
                    async with session.put(f"http://{address}/json/new?about:blank") as response:
                        target = await response.json(content_type=None)
                    page = Page(await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0))
                    listening.append(tasks.create_task(page.listen()))
                    for domain in ("Page", "Runtime", "Log", "Network"):
                        await page.send(f"{domain}.enable")
                    return page

                yield new_tab
                for each in listening:
                    each.cancel()
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = []
    async for line in process.stderr:
        said.append(line.decode(errors="replace"))
        if "DevTools listening on ws://" in said[-1]:
            return said[-1].partition("ws://")[2].partition("/")[0]
    raise PageError(f"Chromium did not start: {''.join(said)}")
