"""Compare header values by their grammar: two spellings of one value are equal. Pure.

    Content-Type    application/json;charset=UTF-8          application/json; charset="utf-8"
    Allow           GET, HEAD                               HEAD,GET
    Cache-Control   no-store, max-age=60                    Max-Age="60",no-store
    Last-Modified   Sun, 06 Nov 1994 08:49:37 GMT           Sunday, 06-Nov-94 08:49:37 GMT
    Set-Cookie      a=1; Path=/; HttpOnly                   a=1;httponly;path=/

A value becomes its canonical form, and two forms are compared. A value that does not follow its grammar, and a header without an entry in
GRAMMARS, is compared as text. What a grammar says is different stays different: order in Content-Encoding, weak and strong entity tags,
`application/json` with and without a charset.
"""

import datetime as dt
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final

Values = tuple[str, ...]
"""The values of the lines of one header, in their order."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar of header values.

    Attributes:
        name: for people.
        canonical: returns the canonical form of a header's lines; None, or ValueError, where they do not follow the grammar.
    """

    name: str
    canonical: Callable[[Values], Hashable | None]


def equal_by(name: str, served: Values, mirrored: Values) -> str | None:
    """Compare two values of a header by its grammar; return the grammar's name when they are equal.

    None means that they are not equal, or that the header has no known grammar.

    Args:
        name: lower-case name of the header.
        served: values of the serving side's lines.
        mirrored: values of the mirrored side's lines.
    """
    grammar = GRAMMARS.get(name)
    if grammar is None or not served or not mirrored:
        return None
    left = _canonical(name, served)
    return grammar.name if left is not None and left == _canonical(name, mirrored) else None


@lru_cache(maxsize=1024)
def _canonical(name: str, values: Values) -> Hashable | None:
    try:
        return GRAMMARS[name].canonical(values)
    except ValueError:
        return None


_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 (RFC 9110 section 5.6.2, not a secret)
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_PARAMETER: Final = re.compile(rf"\s*({_TOKEN})\s*(?:=\s*({_TOKEN}|{_QUOTED})\s*)?")
_LIST_ITEM: Final = re.compile(rf'((?:{_QUOTED}|<[^>]*>|[^,"<])*)(,|$)')
_SEMICOLON_ITEM: Final = re.compile(rf'((?:{_QUOTED}|[^;"])*)(;|$)')
_ESCAPE: Final = re.compile(r"\\(.)")


def _split(text: str, item: re.Pattern[str]) -> list[str]:
    """Split a text outside of quoted strings; drop empty items (RFC 9110 section 5.6.1).

    Raises:
        ValueError: a quoted string does not end.
    """
    items: list[str] = []
    position = 0
    while True:
        match = item.match(text, position)
        if match is None:
            raise ValueError("a quoted string does not end")
        if stripped := match.group(1).strip(" \t"):
            items.append(stripped)
        position = match.end()
        if not match.group(2):
            return items


def _items(values: Values) -> list[str]:
    """Return the items of a list in one or several lines."""
    return _split(", ".join(values), _LIST_ITEM)


def _only(values: Values) -> str:
    (value,) = {value.strip(" \t") for value in values}
    return value


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(r"\1", text[1:-1]) if text.startswith('"') else text


def _parameters(texts: Sequence[str]) -> dict[str, str | None]:
    """Return parameters by lower-case name, None for one without a value.

    Raises:
        ValueError: one is malformed, or occurs twice with two values.
    """
    parameters: dict[str, str | None] = {}
    for text in texts:
        match = _PARAMETER.fullmatch(text)
        if match is None:
            raise ValueError("not a parameter")
        name, raw = match.group(1).lower(), match.group(2)
        value = None if raw is None else _unquoted(raw)
        if parameters.setdefault(name, value) != value:
            raise ValueError("a parameter with two values")
    return parameters


def _frozen(parameters: Mapping[str, Hashable]) -> Hashable:
    return frozenset(parameters.items())


_MEDIA_TYPE: Final = re.compile(rf"{_TOKEN}/{_TOKEN}")


def _parametrized(text: str, kind: re.Pattern[str], *, lower_values: Sequence[str] = ()) -> Hashable:
    """Return a kind with parameters in any order: `text/html; charset=utf-8`, `attachment; filename="a"`."""
    first, *rest = _split(text, _SEMICOLON_ITEM)
    if not kind.fullmatch(first):
        raise ValueError("not a kind")
    parameters = _parameters(rest)
    lowered = {
        name: value.lower() if value is not None and name in lower_values else value
        for name, value in parameters.items()
    }
    return first.lower(), _frozen(lowered)


def _media_type(text: str) -> Hashable:
    """RFC 9110 section 8.3.1: charsets are compared without case, other parameters by their own rules, so with it."""
    return _parametrized(text, _MEDIA_TYPE, lower_values=("charset",))


def _media_ranges(values: Values) -> Hashable:
    return frozenset(_media_type(item) for item in _items(values))


_WEIGHT: Final = re.compile(r"[01](?:\.\d{0,3})?", re.ASCII)


def _weighted(values: Values) -> Hashable:
    """Return items with weights, whose order does not matter: `gzip;q=0.5, br`."""
    weighted: set[Hashable] = set()
    for item in _items(values):
        first, *rest = _split(item, _SEMICOLON_ITEM)
        parameters = _parameters(rest)
        weight = parameters.pop("q", None) or "1"
        if not _WEIGHT.fullmatch(weight):
            raise ValueError("not a weight")
        weighted.add((first.lower(), float(weight), _frozen(parameters)))
    return frozenset(weighted)


_ONE_TOKEN: Final = re.compile(_TOKEN)
_NO_SPACE: Final = re.compile(r"[^\s\"]+")


def _list(values: Values, *, ordered: bool, case: bool) -> Hashable:
    """Return the tokens of a list; those whose order does not matter as a set."""
    items = _items(values)
    if not all(_NO_SPACE.fullmatch(item) for item in items):
        raise ValueError("not a list of tokens")
    items = items if case else [item.lower() for item in items]
    return tuple(items) if ordered else frozenset(items)


_MONTHS: Final = {
    name: number + 1
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split())  # noqa: SIM905
}
_DATES: Final = (
    # Sun, 06 Nov 1994 08:49:37 GMT, and with dashes in cookies
    re.compile(r"[a-z]{3},\s*(?P<d>\d{1,2})[ -](?P<m>[a-z]{3})[ -](?P<y>\d{4}) (?P<t>\d\d:\d\d:\d\d) (?:gmt|utc)"),
    # Sunday, 06-Nov-94 08:49:37 GMT
    re.compile(r"[a-z]{3,9},\s*(?P<d>\d{1,2})-(?P<m>[a-z]{3})-(?P<y>\d\d) (?P<t>\d\d:\d\d:\d\d) gmt"),
    # Sun Nov  6 08:49:37 1994
    re.compile(r"[a-z]{3} (?P<m>[a-z]{3}) {1,2}(?P<d>\d{1,2}) (?P<t>\d\d:\d\d:\d\d) (?P<y>\d{4})"),
)


def _instant(text: str) -> dt.datetime:
    """Return the instant of a date in one of the three formats of RFC 9110 section 5.6.7.

    Raises:
        ValueError: the text has none of these formats, or names a day or time that does not exist.
    """
    match = next((match for date in _DATES if (match := date.fullmatch(text.strip().lower()))), None)
    if match is None or match["m"] not in _MONTHS:
        raise ValueError("not a date")
    year = int(match["y"])
    if len(match["y"]) == 2:
        # RFC 6265 section 5.1.1; RFC 9110 speaks of 50 years in the future, which needs a clock.
        year += 1900 if year >= 70 else 2000
    hour, minute, second = map(int, match["t"].split(":"))
    leap = second == 60
    instant = dt.datetime(
        year, _MONTHS[match["m"]], int(match["d"]), hour, minute, 59 if leap else second, tzinfo=dt.UTC
    )
    return instant + dt.timedelta(seconds=1) if leap else instant


def _date(values: Values) -> Hashable:
    return _instant(_only(values))


def _number(values: Values) -> Hashable:
    return _digits(_only(values))


def _digits(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError("not a number")
    return int(text)


def _delay(values: Values) -> Hashable:
    """Retry-After: seconds or a date (RFC 9110 section 10.2.3)."""
    text = _only(values)
    return _digits(text) if text.isdigit() else _instant(text)


_LISTS_OF_FIELDS: Final = ("no-cache", "private")


def _directives(values: Values) -> Hashable:
    """Cache-Control: directives in any order; seconds as numbers, lists of fields in any order and case (RFC 9111 section 5.2)."""
    directives: dict[str, Hashable] = {}
    for name, value in _parameters(_items(values)).items():
        if value is not None and name in _LISTS_OF_FIELDS:
            directives[name] = frozenset(field.strip().lower() for field in value.split(","))
        else:
            directives[name] = _digits(value) if value is not None and value.isascii() and value.isdigit() else value
    return _frozen(directives)


def _transport_security(values: Values) -> Hashable:
    """Strict-Transport-Security: directives between semicolons (RFC 6797 section 6.1)."""
    parameters = _parameters(_split(_only(values), _SEMICOLON_ITEM))
    return _frozen(
        {name: _digits(value) if name == "max-age" and value else value for name, value in parameters.items()}
    )


_ENTITY_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


def _entity_tag(values: Values) -> Hashable:
    """ETag: a weak tag is not the strong one (RFC 9110 section 8.8.3.2, strong comparison)."""
    match = _ENTITY_TAG.fullmatch(_only(values))
    if match is None:
        raise ValueError("not an entity tag")
    return match.groups()


_PAIR: Final = re.compile(r"\s*([^=;]*?)\s*(?:=\s*(.*?)\s*)?", re.DOTALL)
_COOKIE_VALUES: Final[Mapping[str, Callable[[str], Hashable]]] = {
    "expires": _instant,
    "max-age": lambda text: -_digits(text[1:]) if text.startswith("-") else _digits(text),
    "domain": lambda text: text.lower().removeprefix("."),
    "samesite": str.lower,
}
_COOKIE_FLAGS: Final = ("secure", "httponly", "partitioned")


def _cookies(values: Values) -> Hashable:
    """Set-Cookie: attributes in any order, the last of a name counts; cookies in any order, unless they have one name (RFC 6265)."""
    cookies: dict[str, list[Hashable]] = {}
    for line in values:
        pair, *attributes = line.split(";")
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError("not a cookie")
        meant: dict[str, Hashable] = {}
        for text in attributes:
            match = _PAIR.fullmatch(text)
            assert match is not None, "the pattern matches every text without a semicolon"
            attribute, content = match.group(1).lower(), match.group(2) or ""
            if attribute:
                meant[attribute] = _attribute(attribute, content)
        cookies.setdefault(name.strip(), []).append((value.strip(), _frozen(meant)))
    return frozenset((name, tuple(made)) for name, made in cookies.items())


def _attribute(name: str, content: str) -> Hashable:
    if name in _COOKIE_FLAGS:
        return None
    meaning = _COOKIE_VALUES.get(name)
    return meaning(content) if meaning else content


_LINK: Final = re.compile(r"<([^>]*)>\s*(.*)", re.DOTALL)


def _links(values: Values) -> Hashable:
    """Link: parameters in any order, relation types in any order and case (RFC 8288)."""
    links: list[Hashable] = []
    for item in _items(values):
        match = _LINK.fullmatch(item)
        if match is None:
            raise ValueError("not a link")
        parameters: dict[str, Hashable] = dict(_parameters(_split(match.group(2), _SEMICOLON_ITEM)))
        for name in ("rel", "rev"):
            relation = parameters.get(name)
            if isinstance(relation, str):
                parameters[name] = frozenset(relation.lower().split())
        links.append((match.group(1).strip(), _frozen(parameters)))
    return tuple(links)


_CHALLENGE: Final = re.compile(rf"({_TOKEN})(?: +(.+))?", re.DOTALL)
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def _challenges(values: Values) -> Hashable:
    """WWW-Authenticate: schemes without case, parameters in any order (RFC 9110 section 11.6.1).

    A comma separates both challenges and parameters: `Basic realm="a", charset="UTF-8", Bearer` are two challenges.
    """
    challenges: list[tuple[str, list[str]]] = []
    for item in _items(values):
        if _PARAMETER.fullmatch(item) and "=" in item and challenges:
            challenges[-1][1].append(item)
            continue
        match = _CHALLENGE.fullmatch(item)
        if match is None:
            raise ValueError("not a challenge")
        challenges.append((match.group(1).lower(), [match.group(2)] if match.group(2) else []))
    return tuple((scheme, _challenge_parameters(texts)) for scheme, texts in challenges)


def _challenge_parameters(texts: Sequence[str]) -> Hashable:
    if len(texts) == 1 and _TOKEN68.fullmatch(texts[0]):
        return texts[0]
    parameters = _parameters(texts)
    if None in parameters.values():
        raise ValueError("a parameter without a value")
    return _frozen(parameters)


def _policies(values: Values) -> Hashable:
    """Content-Security-Policy: directives in any order, of which the first of a name counts, with sources in any order."""
    policies: list[Hashable] = []
    for text in ", ".join(values).split(","):
        directives: dict[str, Hashable] = {}
        for directive in text.split(";"):
            name, *sources = directive.split() or [""]
            if name:
                directives.setdefault(name.lower(), frozenset(sources))
        if directives:
            policies.append(_frozen(directives))
    return frozenset(policies)


_URI: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://(?:([^/?#@]*)@)?([^/?#@]*))?(.*)", re.DOTALL)
_HEX: Final = re.compile(r"%[0-9A-Fa-f]{2}")


def _uri(values: Values) -> Hashable:
    """Location: scheme and host without case, hexadecimal digits of escapes too (RFC 3986 section 6.2.2.1)."""
    match = _URI.fullmatch(_only(values))
    assert match is not None, "the pattern matches every text"
    scheme, user, host, rest = match.groups()
    rest = _HEX.sub(lambda escape: escape.group().upper(), rest)
    return scheme and scheme.lower(), user, host and host.lower(), rest


def _word(values: Values) -> Hashable:
    word = _only(values)
    if not _ONE_TOKEN.fullmatch(word):
        raise ValueError("not a word")
    return word.lower()


def _of_one(parse: Callable[[str], Hashable]) -> Callable[[Values], Hashable]:
    return lambda values: parse(_only(values))


_SET: Final = Grammar("list in any order", partial(_list, ordered=False, case=False))
_SET_OF_METHODS: Final = Grammar("methods in any order", partial(_list, ordered=False, case=True))
_SEQUENCE: Final = Grammar("list", partial(_list, ordered=True, case=False))
_MEDIA: Final = Grammar("media type", _of_one(_media_type))
_RANGES: Final = Grammar("media types in any order", _media_ranges)
_WEIGHTED: Final = Grammar("list with weights", _weighted)
_DATE: Final = Grammar("date", _date)
_NUMBER: Final = Grammar("number", _number)
_DIRECTIVES: Final = Grammar("directives in any order", _directives)
_CHALLENGES: Final = Grammar("challenges", _challenges)
_POLICY: Final = Grammar("policy", _policies)
_REFERENCE: Final = Grammar("URI reference", _uri)
_WORD: Final = Grammar("word", _word)

GRAMMARS: Final[Mapping[str, Grammar]] = {
    "content-type": _MEDIA,
    "accept": _RANGES,
    "accept-patch": _RANGES,
    "accept-post": _RANGES,
    "accept-encoding": _WEIGHTED,
    "accept-language": _WEIGHTED,
    "content-disposition": Grammar("disposition", _of_one(partial(_parametrized, kind=_ONE_TOKEN))),
    "allow": _SET_OF_METHODS,
    "access-control-allow-methods": _SET_OF_METHODS,
    "access-control-allow-headers": _SET,
    "access-control-expose-headers": _SET,
    "vary": _SET,
    "accept-ranges": _SET,
    "connection": _SET,
    "trailer": _SET,
    "content-encoding": _SEQUENCE,
    "transfer-encoding": _SEQUENCE,
    "content-language": _SEQUENCE,
    "upgrade": _SEQUENCE,
    "date": _DATE,
    "expires": _DATE,
    "last-modified": _DATE,
    "sunset": _DATE,
    "retry-after": Grammar("delay or date", _delay),
    "content-length": _NUMBER,
    "age": _NUMBER,
    "access-control-max-age": _NUMBER,
    "cache-control": _DIRECTIVES,
    "cdn-cache-control": _DIRECTIVES,
    "pragma": _DIRECTIVES,
    "strict-transport-security": Grammar("directives in any order", _transport_security),
    "etag": Grammar("entity tag", _entity_tag),
    "set-cookie": Grammar("cookies", _cookies),
    "link": Grammar("links", _links),
    "www-authenticate": _CHALLENGES,
    "proxy-authenticate": _CHALLENGES,
    "content-security-policy": _POLICY,
    "content-security-policy-report-only": _POLICY,
    "location": _REFERENCE,
    "content-location": _REFERENCE,
    "x-frame-options": _WORD,
    "x-content-type-options": _WORD,
}
"""Grammar by lower-case name of a header. A list is compared in its order only where the order has a meaning."""
