"""How a dead letter is shown."""

from pipeline.cli.dlq_show import as_document
from pipeline.core.model import PlainEvent


def test_apparent_credentials_are_masked_in_any_text() -> None:
    headers = (("dlq.response", b"wrong password=not-for-your-eyes"), ("dlq.reason", b"rejected"))
    document = as_document(PlainEvent("dlq", 0, 7, b"k", b"client_secret=not-for-your-eyes&n=1", headers, 0))
    assert document["response"] == "wrong password=***"
    assert document["value"]["text"] == "client_secret=***&n=1"
    assert document["facts"] == {"key": "k", "reason": "rejected"}
