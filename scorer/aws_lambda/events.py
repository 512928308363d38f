"""Events of AWS Lambda as HTTP requests, and HTTP responses as results of the function.

Three forms of events are HTTP requests: of an Application Load Balancer, of API Gateway's format 1.0 (REST APIs) and of its format 2.0 (HTTP APIs,
function URLs). Each has its own form of result.
Source: docs.aws.amazon.com/lambda/latest/dg/services-alb.html, .../apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote, urlencode

Headers = Sequence[tuple[str, str]]

# RFC 9110, section 7.6.1, and what describes the length: they belong to the connection over which the event's source received the request.
_CONNECTION_HEADERS = frozenset(
    {
        "connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade",
    }
)  # fmt: skip
_PATH_CHARACTERS = "/:@!$&'()*+,;=~-._"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "?[]"
_BARE_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_TEXT = re.compile(r"text/|application/(?:json|problem\+json|yaml)\b")


class EventError(ValueError):
    """The event is not an HTTP request in one of the known forms; the message says what is missing."""


class EventForm(Enum):
    """The form of an event, and of the result that answers it."""

    LOAD_BALANCER = auto()
    LOAD_BALANCER_MULTI_VALUE = auto()
    GATEWAY_1 = auto()
    GATEWAY_2 = auto()


# A longer result fails at the load balancer with 502, and in Lambda itself (6 MB, whatever calls the function).
RESULT_MAX_BYTES = {
    EventForm.LOAD_BALANCER: 1_000_000,
    EventForm.LOAD_BALANCER_MULTI_VALUE: 1_000_000,
    EventForm.GATEWAY_1: 6_000_000,
    EventForm.GATEWAY_2: 6_000_000,
}


@dataclass(frozen=True, slots=True)
class EventRequest:
    """The HTTP request of an event. `target` is path and query, percent-encoded."""

    form: EventForm
    method: str
    target: str
    headers: Headers
    body: bytes


def request_of(event: object) -> EventRequest:
    """Return the request that an event is.

    Raises:
        EventError: it is of another form, or a part of it cannot be a request's.
    """
    if not isinstance(event, Mapping):
        raise EventError("the event is not an object")
    event = cast("Mapping[str, Any]", event)
    context = _mapping(event, "requestContext")
    if event.get("version") == "2.0":
        http = _mapping(context, "http")
        path = _without_stage(_text(event, "rawPath"), str(context.get("stage", "$default")))
        query = str(event.get("rawQueryString") or "")
        headers = _single(_mapping(event, "headers"))
        cookies = event.get("cookies")
        if isinstance(cookies, list):
            headers.append(("cookie", "; ".join(str(cookie) for cookie in cast("list[object]", cookies))))
        return EventRequest(
            EventForm.GATEWAY_2, _text(http, "method"), _target(path, query), _kept(headers), _body(event)
        )
    form = _form(event, context)
    headers = (
        _multiple(_mapping(event, "multiValueHeaders"))
        if event.get("multiValueHeaders")
        else _single(_mapping(event, "headers"))
    )
    parameters = (
        _multiple(_mapping(event, "multiValueQueryStringParameters"))
        if event.get("multiValueQueryStringParameters")
        else _single(_mapping(event, "queryStringParameters"))
    )
    # The load balancer hands the query on as it came; the gateway has decoded it.
    query = urlencode(parameters) if form is EventForm.GATEWAY_1 else "&".join("=".join(pair) for pair in parameters)
    return EventRequest(
        form, _text(event, "httpMethod"), _target(_text(event, "path"), query), _kept(headers), _body(event)
    )


def result_of(form: EventForm, status: int, headers: Headers, body: bytes) -> dict[str, Any]:
    """Return what the function returns for a response: text as it is, other bodies in base64."""
    kept = _kept(headers)
    text = _decoded(body) if _is_text(kept) else None
    result: dict[str, Any] = {
        "statusCode": status,
        "body": base64.b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }
    match form:
        case EventForm.LOAD_BALANCER | EventForm.LOAD_BALANCER_MULTI_VALUE:
            phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
            result["statusDescription"] = f"{status} {phrase}"
        case EventForm.GATEWAY_2:
            result["cookies"] = [value for name, value in kept if name.lower() == "set-cookie"]
            kept = [pair for pair in kept if pair[0].lower() != "set-cookie"]
        case EventForm.GATEWAY_1:
            pass
    if form in {EventForm.LOAD_BALANCER_MULTI_VALUE, EventForm.GATEWAY_1}:
        result["multiValueHeaders"] = _grouped(kept)
    else:
        result["headers"] = {name: ", ".join(values) for name, values in _grouped(kept).items()}
    return result


def _form(event: Mapping[str, Any], context: Mapping[str, Any]) -> EventForm:
    if "elb" not in context:
        return EventForm.GATEWAY_1
    return EventForm.LOAD_BALANCER_MULTI_VALUE if "multiValueHeaders" in event else EventForm.LOAD_BALANCER


def _mapping(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    if value is None and name not in {"requestContext", "http"}:
        return {}
    if not isinstance(value, Mapping):
        raise EventError(
            f"the event has no object {name!r}; it is none of a load balancer, an API gateway or a function URL"
        )
    return cast("Mapping[str, Any]", value)


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise EventError(f"the event has no text {name!r}")
    return value


def _single(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in values.items()]


def _multiple(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, several in values.items():
        if not isinstance(several, list):
            raise EventError(f"the values of {name!r} are not a list")
        pairs.extend((name, str(value)) for value in cast("list[object]", several))
    return pairs


def _without_stage(path: str, stage: str) -> str:
    prefix = f"/{stage}"
    return path[len(prefix) :] or "/" if stage != "$default" and f"{path}/".startswith(f"{prefix}/") else path


def _target(path: str, query: str) -> str:
    encoded = _encoded(path if path.startswith("/") else f"/{path}", _PATH_CHARACTERS)
    return f"{encoded}?{_encoded(query, _QUERY_CHARACTERS)}" if query else encoded


def _encoded(text: str, characters: str) -> str:
    """Percent-encode what may not stand in a target; what is encoded stays so."""
    return quote(_BARE_PERCENT.sub("%25", text), safe=characters + "%")


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise EventError("the event's body is not a text")
    if not event.get("isBase64Encoded"):
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise EventError("the event's body is not base64, though it says so") from error


def _kept(headers: Headers) -> list[tuple[str, str]]:
    named = {
        word.strip().lower() for name, value in headers if name.lower() == "connection" for word in value.split(",")
    }
    return [(name, value) for name, value in headers if name.lower() not in _CONNECTION_HEADERS | named]


def _is_text(headers: Headers) -> bool:
    names = {name.lower(): value for name, value in headers}
    return "content-encoding" not in names and bool(_TEXT.match(names.get("content-type", "").lower()))


def _decoded(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _grouped(headers: Headers) -> dict[str, list[str]]:
    """Return the values by name; names that differ in case alone are one."""
    spelled: dict[str, str] = {}
    grouped: dict[str, list[str]] = {}
    for name, value in headers:
        grouped.setdefault(spelled.setdefault(name.lower(), name), []).append(value)
    return grouped
