"""The pages of a real worker in headless Chromium: an outage is found, explained and repaired on the pages."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.brokers import TestBroker
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.cluster import Cluster, cluster
from tests.support.recorder import Recorder, answer
from tests.support.worker import ADMIN_TOKEN, Worker

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"),
]

NO_RETRY = {"retry": {"retryOption": "No Retry"}}
HOSTILE = "<script>document.title = 'taken over'</script>"


@pytest.fixture
async def found(embedded: TestBroker, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Cluster]:
    """One worker. A subscription in FAILURE stays in FAILURE until a user acts."""
    async with cluster(embedded, unique_name("page"), tmp_path, partitions=2, recovery={"probe": False}) as found:
        await found.start_worker()
        await found.until_ready()
        yield found


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with browser() as new_tab:
        page = await new_tab()
        await page.look(width=1280, height=900)
        yield page
        assert page.troubles == []


def address(worker: Worker, path: str = "/") -> str:
    return f"http://me:{ADMIN_TOKEN}@127.0.0.1:{worker.port}{path}"


async def resume_first_group(page: Page, count: int) -> None:
    """Resume the first group of failures, which has *count* subscriptions, by clicks."""
    await page.click("#fails [data-act=resumeAll]")
    await page.until("document.querySelector('#ask[open]')")
    assert f"{count} subscriptions match now" in await page.text("#ask-body")
    await page.click("#ask-go")
    await page.until("document.querySelector('#said .good')")
    assert f"Resumed {count} of {count} subscriptions." in await page.text("#said")


async def test_an_outage_is_repaired_with_one_action(found: Cluster, page: Page, recorder: Recorder) -> None:
    other = await found.start_worker()
    await found.until_ready()
    names = [f"sub-{number}" for number in range(40)]
    recorder.behaviours |= dict.fromkeys(names, answer(503))
    await found.subscribe(recorder, *names, "rejecting", endpoint=NO_RETRY)
    await found.produce([(name, b"{}") for name in names for _ in range(2)])
    await recorder.until_events(40)

    await page.open(address(other))
    await page.until("document.querySelector('#fails .count')?.innerText.startsWith('40')")
    said = await page.text("#fails article")
    for part in ("the callback answered 503", "Failed", recorder.base_url.partition("://")[2], "80 events waiting"):
        assert part in said

    recorder.behaviours.clear()
    await resume_first_group(page, 40)
    await recorder.until_events(80)
    await page.until("document.querySelector('#fails')?.innerText.includes('Nothing fails.')")
    await page.until("document.querySelector('#tile-live b')?.innerText === '41'")


async def test_one_subscription_is_explained_and_repaired(found: Cluster, page: Page, recorder: Recorder) -> None:
    name = f"sub {HOSTILE}/?&=1"
    sent_name = name.replace(" ", "%20")
    recorder.behaviours[sent_name] = answer(503)
    configuration = {"callbackUrl": recorder.url("sub-1"), **NO_RETRY}
    await found.store.apply({"id": name, "configuration": {"entrypointConfiguration": configuration}})
    await found.produce([(name, HOSTILE.encode()), (name, b"second"), (name, b"third")])
    await recorder.until_events(1)

    await page.open(address(found.workers[0]))
    await page.until("document.querySelector('#fails article')")
    await page.click("#fails article .buttons a")
    await page.until("location.pathname === '/subscriptions'")
    await page.click("tbody a")
    await page.until("location.pathname === '/subscription'")
    assert await page.text("h1") == name
    assert "the callback answered 503" in await page.text(".reason")
    await page.until("document.querySelector('#attempts .timeline')?.innerText.includes('status 503')")
    await page.click("#attempts summary")
    assert await page.text("#attempts pre") == "status 503"

    await page.click("[data-act=skip]")
    await page.until("document.querySelector('#ask[open] pre')")
    assert await page.text("#ask pre") == HOSTILE
    await page.click("#ask-go")
    await page.until("document.querySelector('#said .good')")
    assert "Skipped the event at offset" in await page.text("#said")
    await recorder.until_events(2)

    recorder.behaviours[sent_name] = answer(200)
    await page.until("document.querySelector('[data-act=resume]')")
    await page.click("[data-act=resume]")
    await page.until("document.querySelector('#said')?.innerText.includes('Resumed')")
    await page.until("document.querySelector('#state .state').innerText === 'Live'")
    assert await page.run("document.title.startsWith('sub ')")
    await recorder.until_events(3)
    assert [call.body for call in recorder.calls] == [HOSTILE.encode(), b"second", b"second", b"third"]


async def test_pages_follow_the_cluster_and_work_by_keyboard(found: Cluster, page: Page, recorder: Recorder) -> None:
    await page.open(address(found.workers[0]))
    await page.until("document.querySelector('#live.on')")
    assert await page.text("#tile-live b") == "0"
    await found.subscribe(recorder, "sub-1", status="PAUSED")
    await page.until("document.querySelector('#tile-paused b')?.innerText === '1'")

    await page.press("Tab", 9)
    assert await page.run("document.activeElement.className") == "skip"
    await page.press("Enter", 13, "\r")
    await page.until("document.activeElement.id === 'main'")
    await page.open(address(found.workers[0], "/subscription?id=sub-1"))
    await page.run("document.querySelector('[data-act=resume]').focus()")
    await page.press("Enter", 13, "\r")
    await page.until("document.querySelector('#said')?.innerText.includes('Resumed sub-1')")


async def test_no_page_is_wider_than_a_phone(found: Cluster, page: Page, recorder: Recorder) -> None:
    recorder.behaviours["sub-1"] = answer(503)
    await found.subscribe(recorder, "sub-1", endpoint=NO_RETRY, metadata={"a-rather-long-name": "x" * 200})
    await found.produce([("sub-1", b"{}")])
    await recorder.until_events(1)
    await page.look(width=360, height=740, phone=True)
    for path in ("/", "/subscriptions", "/subscription?id=sub-1", "/workers", "/dead-letters", "/worker"):
        await page.open(address(found.workers[0], path))
        assert await page.run("document.documentElement.scrollWidth") == 360, path


async def test_a_worker_stops_while_pages_listen(found: Cluster, page: Page) -> None:
    await page.open(address(found.workers[0]))
    await page.until("document.querySelector('#live.on')")
    assert await found.workers[0].terminate(within_seconds=30) == 0
    await page.until("document.querySelector('#live.off')")
    page.troubles.clear()  # the browser reports that the worker is unavailable
