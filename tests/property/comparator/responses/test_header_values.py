"""A value has many spellings that are equal, other values are not, and what has no grammar is text."""

import datetime as dt
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparator.exchanges.comparison import Verdict
from comparator.exchanges.difference import Kind
from comparator.exchanges.model import HeaderList, Observation, Response, Role, Side
from comparator.responses.compare import ResponseResult, compare_responses
from comparator.responses.header_values import GRAMMARS, equal_by
from comparator.rules.actions import ComparisonTime
from comparator.rules.compile import compile_route
from comparator.settings import CompareSettings, HeaderRules
from comparator.store.report import explain
from comparator.verdict import Comparator

WHEN = ComparisonTime(dt.date(2026, 1, 1))

tokens = st.from_regex(r"[a-z][a-z0-9-]{0,6}", fullmatch=True)
contents = st.text(st.sampled_from("abcXYZ019.-"), min_size=1, max_size=6)
quoted_contents = contents | st.text(st.sampled_from('ab ,;="\\'), max_size=6)
instants = st.integers(0, 3_155_000_000).map(lambda time: dt.datetime.fromtimestamp(time, dt.UTC))
"""Until 2069, the last year that two digits tell."""
parameters = st.dictionaries(tokens, quoted_contents, max_size=3)
spaces = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def cased(draw: st.DrawFn, text: str) -> str:
    upper = draw(st.integers(0, 2 ** len(text) - 1))
    return "".join(letter.upper() if upper >> at & 1 else letter.lower() for at, letter in enumerate(text))


@st.composite
def spelled(draw: st.DrawFn, content: str) -> str:
    """Return a token, or a quoted string with any characters escaped."""
    if content and all(letter not in ' ,;="\\' for letter in content) and draw(st.booleans()):
        return content
    escaped = draw(st.integers(0, 2 ** len(content) - 1))
    letters = (f"\\{letter}" if letter in '"\\' or escaped >> at & 1 else letter for at, letter in enumerate(content))
    return f'"{"".join(letters)}"'


@st.composite
def parameter_texts(draw: st.DrawFn, values: Mapping[str, str]) -> list[str]:
    names = draw(st.permutations(sorted(values)))
    return [f"{draw(cased(name))}={draw(spelled(values[name]))}" for name in names]


@st.composite
def media_type_texts(draw: st.DrawFn, kind: str, values: Mapping[str, str]) -> str:
    parts = draw(parameter_texts(values))
    return draw(cased(kind)) + "".join(f"{draw(spaces)};{draw(spaces)}{part}" for part in parts)


@st.composite
def list_lines(draw: st.DrawFn, items: list[str]) -> tuple[str, ...]:
    """Return a list in one line or several, with spaces and empty items."""
    separators = [draw(st.sampled_from([",", ", ", " ,\t", ",,", ", ,"])) for _ in items[1:]]
    text = "".join(item + separator for item, separator in zip(items, [*separators, ""], strict=True))
    at = draw(st.integers(0, len(items)))
    return (text,) if at in (0, len(items)) else (", ".join(items[:at]), ", ".join(items[at:]))


def date_texts(time: dt.datetime) -> st.SearchStrategy[str]:
    names = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
    return st.sampled_from([time.strftime(name) for name in names])


@given(st.data(), tokens, tokens, parameters)
def test_media_types_are_equal_in_any_spelling(
    data: st.DataObject, kind: str, subtype: str, values: dict[str, str]
) -> None:
    values = {name: value for name, value in values.items() if name != "charset"}
    texts = media_type_texts(f"{kind}/{subtype}", values)
    left, right = data.draw(texts), data.draw(texts)
    assert equal_by("content-type", (left,), (right,)) == "media type"


@given(st.data(), parameters.filter(bool), quoted_contents)
def test_other_parameter_of_a_media_type_differs(data: st.DataObject, values: dict[str, str], other: str) -> None:
    values = {name: value for name, value in values.items() if name != "charset"} | {"v": "1"}
    changed = values | {"v": f"2{other}"}
    left, right = (data.draw(media_type_texts("a/b", each)) for each in (values, changed))
    assert equal_by("content-type", (left,), (right,)) is None


@given(
    st.data(),
    st.sampled_from(["vary", "access-control-allow-headers", "accept-ranges"]),
    st.lists(tokens, min_size=1, max_size=5, unique=True),
)
def test_lists_without_an_order_are_equal_in_any(data: st.DataObject, name: str, items: list[str]) -> None:
    left, right = (
        data.draw(list_lines([data.draw(cased(item)) for item in data.draw(st.permutations(items))])) for _ in range(2)
    )
    assert equal_by(name, left, right) == "list in any order"
    assert equal_by(name, left, (*right, "one-more-item")) is None


@given(st.data(), st.lists(tokens, min_size=2, max_size=5, unique=True))
def test_list_with_an_order_differs_in_another(data: st.DataObject, items: list[str]) -> None:
    assert equal_by("content-encoding", data.draw(list_lines(items)), data.draw(list_lines(items))) == "list"
    assert equal_by("content-encoding", (", ".join(items),), (", ".join(reversed(items)),)) is None


@given(st.data(), st.sampled_from(["date", "expires", "last-modified", "retry-after"]), instants, instants)
def test_dates_are_equal_by_their_instant(data: st.DataObject, name: str, one: dt.datetime, other: dt.datetime) -> None:
    left, right = data.draw(date_texts(one)), data.draw(date_texts(other))
    assert (equal_by(name, (left,), (right,)) is not None) == (one == other)
    assert equal_by(name, (left,), (data.draw(date_texts(one)),)) is not None


directives = st.dictionaries(tokens, st.none() | st.integers(0, 9999).map(str) | contents, min_size=1, max_size=4)


@given(st.data(), directives)
def test_cache_directives_are_equal_in_any_spelling(data: st.DataObject, values: dict[str, str | None]) -> None:
    def line() -> tuple[str, ...]:
        names = data.draw(st.permutations(sorted(values)))
        return data.draw(
            list_lines(
                [
                    data.draw(cased(name))
                    + ("" if (value := values[name]) is None else f"={data.draw(spelled(value))}")
                    for name in names
                ]
            )
        )

    left, right = line(), line()
    assert equal_by("cache-control", left, right) == "directives in any order"
    assert equal_by("cache-control", left, (*right, "one-more-directive")) is None


@given(st.data(), tokens.filter(lambda name: name != "b"), contents, instants)
def test_cookies_are_equal_in_any_spelling(data: st.DataObject, name: str, value: str, expires: dt.datetime) -> None:
    def cookie(content: str) -> str:
        dashed = expires.strftime("%a, %d-%b-%Y %H:%M:%S GMT")
        attributes = [
            data.draw(cased("path")) + "=/",
            data.draw(cased("httponly")),
            f"{data.draw(cased('expires'))}={data.draw(date_texts(expires) | st.just(dashed))}",
            f"{data.draw(cased('samesite'))}={data.draw(cased('lax'))}",
            f"Domain={data.draw(st.sampled_from(['', '.']))}{data.draw(cased('a.example'))}",
        ]
        return f"{name}={content}" + "".join(f";{data.draw(spaces)}{a}" for a in data.draw(st.permutations(attributes)))

    others = ["b=1; Secure", "b=2"]
    left, right = cookie(value), cookie(value)
    assert equal_by("set-cookie", (left, *others), (*others, right)) == "cookies"
    assert equal_by("set-cookie", (left,), (cookie(value + "x"),)) is None
    assert equal_by("set-cookie", (left, *others), (left, *reversed(others))) is None


texts = st.text(st.sampled_from('aB1/;,="\\ \t<>W-%:.é'), max_size=12)
lines = st.lists(texts, min_size=1, max_size=2).map(tuple)


@given(st.sampled_from(sorted(GRAMMARS)), lines, lines)
def test_any_text_is_compared_alike_from_both_sides(name: str, left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert equal_by(name, left, right) == equal_by(name, right, left)


@given(tokens.map("x-{}".format).filter(lambda name: name not in GRAMMARS), lines, lines)
def test_header_without_a_grammar_is_text(name: str, left: tuple[str, ...], right: tuple[str, ...]) -> None:
    assert equal_by(name, left, right) is None


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("content-type", "application/json;charset=UTF-8", 'Application/JSON ; charset="utf-8"'),
        ("content-type", "text/html; charset=utf-8;", "text/html;charset=utf-8"),
        ("allow", "GET, HEAD", "HEAD,GET"),
        ("accept-patch", "a/b;x=1, c/d", 'c/d, A/B; X="1"'),
        ("accept-encoding", "br;q=1.0, gzip;q=0.50", "gzip;q=0.5,br"),
        ("cache-control", 'private="Set-Cookie, X", max-age=060', 'MAX-AGE="60",private="x,set-cookie"'),
        ("content-disposition", 'attachment; filename="a.txt"', "Attachment;filename=a.txt"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains", 'includesubdomains;Max-Age="31536000"'),
        (
            "content-security-policy",
            "default-src 'self' a.example; img-src *",
            "img-src *; default-src a.example 'self';",
        ),
        ("www-authenticate", 'Bearer realm="a", error="b"', 'bearer error=b,realm="a"'),
        ("www-authenticate", 'Basic realm="a, b", Negotiate YWJj', 'BASIC realm="a\\, b",negotiate YWJj'),
        ("link", '</a>; rel="next prev"; title=x', '</a>;title="x";rel="PREV next"'),
        ("location", "HTTPS://A.example/%c3%a9?x", "https://a.example/%C3%A9?x"),
        ("retry-after", "120", "0120"),
        ("set-cookie", "a=1; Max-Age=060; Secure", "a=1;secure;max-age=60"),
        ("x-frame-options", "DENY", "deny"),
        ("expires", "Thu, 01 Jan 1970 00:00:00 GMT", "Thursday, 01-Jan-70 00:00:00 GMT"),
        ("last-modified", "Sat, 30 Jun 2012 23:59:60 GMT", "Sun, 01 Jul 2012 00:00:00 GMT"),
    ],
)
def test_spellings_of_one_value_are_equal(name: str, left: str, right: str) -> None:
    assert equal_by(name, (left,), (right,))


@pytest.mark.parametrize(
    ("name", "left", "right"),
    [
        ("content-type", "application/json", "application/json; charset=utf-8"),
        ("content-type", "text/html; charset=utf-8", "text/html; charset=latin-1"),
        ("content-type", "multipart/mixed; boundary=A", "multipart/mixed; boundary=a"),
        ("content-type", "text/html; a=1; a=2", "text/html; a=2; a=1"),
        ("content-type", "json", "JSON"),
        ("allow", "GET", "get"),
        ("content-encoding", "gzip, br", "br, gzip"),
        ("cache-control", "max-age=60", "max-age=61"),
        ("cache-control", "no-store", 'no-store="x"'),
        ("cache-control", 'a="', "a=  "),
        ("etag", '"a"', 'W/"a"'),
        ("etag", '"a"', '"A"'),
        ("etag", "a", "A"),
        ("expires", "0", "-1"),
        ("expires", "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00"),
        ("last-modified", "Thu, 32 Jan 1970 00:00:00 GMT", "Thu, 32-Jan-1970 00:00:00 GMT"),
        ("retry-after", "120", "Thu, 01 Jan 1970 00:02:00 GMT"),
        ("set-cookie", "a=1; Secure", "a=1"),
        ("set-cookie", "a=1; Path=/A", "a=1; Path=/a"),
        ("set-cookie", "A=1", "a=1"),
        ("set-cookie", "a", "A"),
        ("www-authenticate", 'Basic realm="a"', 'Basic realm="A"'),
        ("www-authenticate", "Negotiate YWJj", "Negotiate ywjj"),
        ("www-authenticate", "Basic, Bearer", "Bearer, Basic"),
        ("link", "</a>; rel=next, </b>; rel=next", "</b>; rel=next, </a>; rel=next"),
        ("location", "/A", "/a"),
        ("location", "http://a.example/", "https://a.example/"),
        ("content-length", "1", "10"),
        ("x-own", "a;b", "a; b"),
    ],
)
def test_values_that_differ_stay_different(name: str, left: str, right: str) -> None:
    assert equal_by(name, (left,), (right,)) is None


def test_absent_header_is_not_equal_to_a_present_one() -> None:
    assert equal_by("vary", (), ("",)) is None


RULES = compile_route(CompareSettings(headers=HeaderRules(compare=("set-cookie", "x-own"))), "")


def compared(left: HeaderList, right: HeaderList) -> ResponseResult:
    return compare_responses(Response(200, left, b"{}"), Response(200, right, b"{}"), RULES, WHEN, max_bytes=1_000)


def test_value_equal_by_its_grammar_is_a_rule_hit_that_names_it() -> None:
    result = compared(
        (("Content-Type", "application/json;charset=UTF-8"),), (("content-type", "application/json; charset=utf-8"),)
    )
    assert result.differences == ()
    assert [(hit.rule, hit.place) for hit in result.rule_hits] == [("grammar: media type", "content-type")]


def test_lines_in_another_order_are_equal_where_the_order_has_no_meaning() -> None:
    cookies = (("Set-Cookie", "a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT"), ("Set-Cookie", "b=2"))
    assert compared(cookies, cookies[::-1]).differences == ()
    own = (("X-Own", "a"), ("X-Own", "b"))
    (difference,) = compared(own, own[::-1]).differences
    assert (difference.kind, difference.served, difference.mirrored) == (Kind.HEADER, "a, b", "b, a")


def test_lines_joined_to_one_are_equal_without_a_hit() -> None:
    result = compared((("Allow", "GET"), ("Allow", "PUT")), (("Allow", "GET, PUT"),))
    assert (result.differences, result.rule_hits) == ((), ())


def test_explanation_of_a_match_names_the_grammar() -> None:
    spellings = ("application/json;charset=UTF-8", "application/json; charset=utf-8")
    sides = [
        Observation(side, role, Response(200, (("Content-Type", text),), b"{}"), 1)
        for side, role, text in zip(Side, Role, spellings, strict=True)
    ]
    comparison = Comparator(CompareSettings()).compare("r", *sides, now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    assert comparison.verdict is Verdict.MATCH
    assert explain(comparison) == "grammar: media type  (1 place)\n  content-type"
