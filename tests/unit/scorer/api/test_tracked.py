"""Headers of tracked calls, named as Django names them."""

from scorer.api.tracked import recorded_headers


def test_names_are_capitalized_and_underscores_are_hyphens():
    received = [("x-some-HEADER", "1"), ("x_other_header", "2"), ("content-type", "3")]
    assert recorded_headers(received) == {"X-Some-Header": "1", "X-Other-Header": "2", "Content-Type": "3"}


def test_repeated_headers_are_joined_in_any_spelling():
    assert recorded_headers([("x-a", "1"), ("X_A", "2"), ("X-A", "3")]) == {"X-A": "1,2,3"}


def test_secrets_are_redacted_in_any_spelling():
    secrets = [("x_api_key", "k"), ("AUTHORIZATION", "a"), ("cookie", "c"), ("Cookie", "d")]
    assert recorded_headers(secrets) == {"X-Api-Key": "***", "Authorization": "***", "Cookie": "***"}


def test_bytes_that_are_not_ascii_are_latin_1():
    value = "ü\udcff".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    assert recorded_headers([("x-a", value)]) == {"X-A": "Ã¼ÿ"}
