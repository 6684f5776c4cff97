"""How a dead letter is shown."""

from pipeline.cli.dlq_show import as_document
from pipeline.core.model import PlainEvent


def test_apparent_credentials_are_masked_in_any_text() -> None:
    headers = (("dlq.response", b"wrong password=not-for-your-eyes"), ("dlq.reason", b"rejected"))
    document = as_document(PlainEvent("dlq", 0, 7, b"k", b"client_secret=not-for-your-eyes&n=1", headers, 0))
    assert document["response"] == "wrong password=***"
    assert document["value"]["text"] == "client_secret=***&n=1"
    assert document["facts"] == {"key": "k", "reason": "rejected"}


def test_every_text_of_a_letter_is_masked() -> None:
    headers = (
        ("dlq.error", b"password=planted-1"),
        ("dlq.x-api-key", b"planted-2"),
        ("dlq.key", b"of a stranger"),
        ("x-note", b"Bearer planted-3-planted"),
        ("X-Api-Key", b"planted-4"),
        ("x-empty-key", b""),
        ("x-link", b"https://me:planted-5@example.com/"),
    )
    document = as_document(PlainEvent("dlq", 0, 7, b"api_key=planted-6", b'{"apiKey": "planted-7"}', headers, 0))
    assert "planted" not in str(document)
    assert list(document["facts"]) == ["key", "error", "x-api-key"]
    assert document["facts"]["key"] == "api_key=***"
    assert dict(document["headers"])["x-empty-key"] == ""
