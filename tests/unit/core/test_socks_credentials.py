import pytest

from pipeline.core.socks_credentials import MAX_BYTES, credentials_problem


@pytest.mark.parametrize(
    ("version", "username", "password"),
    [
        (4, None, None),
        (4, "", ""),
        (4, "user", None),
        (5, None, None),
        (5, "", None),
        (5, "u", "p"),
        (5, "u" * MAX_BYTES, " " * MAX_BYTES),
    ],
)
def test_credentials_that_can_be_sent_to_a_proxy_are_accepted(
    version: int, username: str | None, password: str | None
) -> None:
    assert credentials_problem(version, username, password) is None


@pytest.mark.parametrize(
    ("version", "username", "password", "field"),
    [
        (4, None, "hidden", "password"),
        (4, "hidden\0", None, "username"),
        (4, "h" * (MAX_BYTES + 1), None, "username"),
        (5, "hidden", None, "password"),
        (5, "hidden", "", "password"),
        (5, None, "hidden", "username"),
        (5, "hidden\n", "p", "username"),
        (5, "u", "hiddén", "password"),
        (5, "u", "h" * (MAX_BYTES + 1), "password"),
    ],
)
def test_a_problem_names_the_field_and_not_its_value(
    version: int, username: str | None, password: str | None, field: str
) -> None:
    problem = credentials_problem(version, username, password)
    assert problem is not None
    assert problem[0] == field
    assert "hid" not in problem[1]
