"""Which requests are remembered in case they are repeated (cluster/remembered.py)."""

from pipeline.cluster.remembered import LEAST_BYTES, REMEMBER_SECONDS, RememberedRequests, Request


def request(key: str, size: int = 0, digest: str = "d") -> Request:
    return Request(key, digest, answer={"x": "x" * size})


def test_only_the_first_answer_to_a_key_is_kept() -> None:
    known = RememberedRequests()
    known.add("a", 0.0, request("k", digest="first"))
    known.add("a", REMEMBER_SECONDS, request("k", digest="second"))
    assert getattr(known.find("k", REMEMBER_SECONDS), "digest", None) == "first"
    assert known.find("k", REMEMBER_SECONDS + 1) is None
    known.add("a", REMEMBER_SECONDS + 1, request("k", digest="third"))
    assert getattr(known.find("k", REMEMBER_SECONDS + 1), "digest", None) == "third"


def test_large_answers_displace_the_oldest_answers() -> None:
    known = RememberedRequests(most_bytes=25_000)
    for number in range(4):
        known.add("a", 0.0, request(f"k{number}", 10_000))
    assert [key for key in ("k0", "k1", "k2", "k3") if known.find(key, 0.0)] == ["k2", "k3"]


def test_small_answers_count_towards_the_limit() -> None:
    known = RememberedRequests(most_bytes=10 * LEAST_BYTES)
    for number in range(100):
        known.add("a", 0.0, request(f"k{number}"))
    assert len([number for number in range(100) if known.find(f"k{number}", 0.0)]) == 10


def test_a_sender_displaces_only_its_own_requests() -> None:
    known = RememberedRequests(most_bytes=10 * LEAST_BYTES)
    known.add("quiet", 0.0, request("q"))
    for number in range(1000):
        known.add("busy", 1.0, request(f"k{number}"))
    assert known.find("q", 1.0) is not None
    assert known.find("k999", 1.0) is not None
    assert known.find("k0", 1.0) is None
