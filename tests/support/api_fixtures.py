"""Fixtures of the JSON API: two workers of one cluster on an embedded broker, each with an administrator's client."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.api import ApiCluster, ApiWorker, Client
from tests.support.brokers import TestBroker


@pytest.fixture
def cluster(embedded: TestBroker, unique_name: Callable[[str], str]) -> ApiCluster:
    return ApiCluster(embedded, unique_name("api"))


@pytest.fixture
def worker(cluster: ApiCluster) -> ApiWorker:
    return cluster.worker()


@pytest.fixture
def other_worker(cluster: ApiCluster) -> ApiWorker:
    return cluster.worker()


@pytest.fixture
async def client(worker: ApiWorker) -> AsyncIterator[Client]:
    async with worker.client() as client:
        yield client


@pytest.fixture
async def other(other_worker: ApiWorker) -> AsyncIterator[Client]:
    async with other_worker.client() as client:
        yield client
