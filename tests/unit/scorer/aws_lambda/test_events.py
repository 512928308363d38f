"""The forms of events as the services document them, and what is none."""

import base64
from typing import Any

import pytest

from scorer.aws_lambda.events import EventError, EventForm, request_of, result_of

ELB = {"requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1"}}}
GATEWAY = {"requestContext": {"stage": "prod", "httpMethod": "GET"}}


def balanced(**changes: Any) -> dict[str, Any]:
    event = {"httpMethod": "GET", "path": "/a", "queryStringParameters": {}, "headers": {"host": "api"}, "body": ""}
    return {**ELB, **event, "isBase64Encoded": False, **changes}


def gateway_2(**changes: Any) -> dict[str, Any]:
    context = {"stage": "$default", "http": {"method": "GET", "sourceIp": "192.0.2.1"}}
    return {
        "version": "2.0",
        "rawPath": "/a",
        "rawQueryString": "",
        "headers": {},
        "requestContext": context,
        **changes,
    }


@pytest.mark.parametrize(
    ("event", "form", "target"),
    [
        (balanced(), EventForm.LOAD_BALANCER, "/a"),
        (balanced(path="/%2Fa b/ü"), EventForm.LOAD_BALANCER, "/%2Fa%20b/%C3%BC"),
        (balanced(queryStringParameters={"a": "1%2B2", "b": ""}), EventForm.LOAD_BALANCER, "/a?a=1%2B2&b="),
        (
            balanced(
                multiValueHeaders={"a": ["1", "2"]}, multiValueQueryStringParameters={"a": ["1", "2"], "b": ["%"]}
            ),
            EventForm.LOAD_BALANCER_MULTI_VALUE,
            "/a?a=1&a=2&b=%25",
        ),
        (
            {**GATEWAY, "httpMethod": "GET", "path": "/a b", "multiValueQueryStringParameters": {"a": ["1+2", "ü&"]}},
            EventForm.GATEWAY_1,
            "/a%20b?a=1%2B2&a=%C3%BC%26",
        ),
        ({**GATEWAY, "httpMethod": "GET", "path": "/a", "queryStringParameters": None}, EventForm.GATEWAY_1, "/a"),
        (gateway_2(rawQueryString="a=1&a=2&b=%20"), EventForm.GATEWAY_2, "/a?a=1&a=2&b=%20"),
        (gateway_2(rawPath="/prod/a"), EventForm.GATEWAY_2, "/prod/a"),
        (
            gateway_2(rawPath="/prod/a", requestContext={"stage": "prod", "http": {"method": "GET"}}),
            EventForm.GATEWAY_2,
            "/a",
        ),
        (
            gateway_2(rawPath="/prod", requestContext={"stage": "prod", "http": {"method": "GET"}}),
            EventForm.GATEWAY_2,
            "/",
        ),
        (
            gateway_2(rawPath="/produce", requestContext={"stage": "prod", "http": {"method": "GET"}}),
            EventForm.GATEWAY_2,
            "/produce",
        ),
    ],
)
def test_each_form_is_recognised_and_its_target_encoded_once(
    event: dict[str, Any], form: EventForm, target: str
) -> None:
    request = request_of(event)
    assert (request.form, request.method, request.target) == (form, "GET", target)


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"x-api-key": "k", "Host": "api"}, [("x-api-key", "k"), ("Host", "api")]),
        ({"Connection": "keep-alive, X-Hop", "x-hop": "1", "TE": "trailers", "a": "1"}, [("a", "1")]),
        ({"content-length": "9", "transfer-encoding": "chunked", "upgrade": "h2c", "expect": "100-continue"}, []),
    ],
)
def test_headers_of_the_connection_are_left_out(headers: dict[str, str], kept: list[tuple[str, str]]) -> None:
    assert list(request_of(balanced(headers=headers)).headers) == kept
    assert list(request_of(balanced(multiValueHeaders={name: [v] for name, v in headers.items()})).headers) == kept


def test_repeated_headers_and_cookies_arrive() -> None:
    assert list(request_of(balanced(multiValueHeaders={"a": ["1", "2"]})).headers) == [("a", "1"), ("a", "2")]
    assert list(request_of(gateway_2(cookies=["a=1", "b=2"])).headers) == [("cookie", "a=1; b=2")]


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({"body": None}, b""),
        ({"body": '{"a": "ü"}'}, '{"a": "ü"}'.encode()),
        ({"body": base64.b64encode(b"\xff\x00").decode(), "isBase64Encoded": True}, b"\xff\x00"),
    ],
)
def test_body_is_that_of_the_request(changes: dict[str, Any], body: bytes) -> None:
    assert request_of(balanced(**changes)).body == body


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (None, "not an object"),
        ([], "not an object"),
        ({}, "no object 'requestContext'"),
        ({"source": "aws.events", "detail-type": "Scheduled Event"}, "no object 'requestContext'"),
        ({"Records": [{"body": "x"}]}, "no object 'requestContext'"),
        (balanced(httpMethod=None), "no text 'httpMethod'"),
        (balanced(path=7), "no text 'path'"),
        (balanced(headers=["a"]), "no object 'headers'"),
        (balanced(multiValueHeaders={"a": "1"}), "the values of 'a' are not a list"),
        (balanced(body={"a": 1}), "body is not a text"),
        (balanced(body="%", isBase64Encoded=True), "not base64"),
        (gateway_2(requestContext={"stage": "x"}), "no object 'http'"),
        (gateway_2(rawPath=None), "no text 'rawPath'"),
    ],
)
def test_what_is_no_request_is_refused_by_name(event: object, message: str) -> None:
    with pytest.raises(EventError, match=message):
        request_of(event)


HEADERS = [
    ("Content-Type", "application/json; charset=utf-8"),
    ("Set-Cookie", "a=1"),
    ("set-cookie", "b=2"),
    ("Via", "x"),
]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (
            EventForm.LOAD_BALANCER,
            {
                "statusDescription": "404 Not Found",
                "headers": {"Content-Type": HEADERS[0][1], "Set-Cookie": "a=1, b=2", "Via": "x"},
            },
        ),
        (
            EventForm.LOAD_BALANCER_MULTI_VALUE,
            {
                "statusDescription": "404 Not Found",
                "multiValueHeaders": {"Content-Type": [HEADERS[0][1]], "Set-Cookie": ["a=1", "b=2"], "Via": ["x"]},
            },
        ),
        (
            EventForm.GATEWAY_1,
            {"multiValueHeaders": {"Content-Type": [HEADERS[0][1]], "Set-Cookie": ["a=1", "b=2"], "Via": ["x"]}},
        ),
        (EventForm.GATEWAY_2, {"headers": {"Content-Type": HEADERS[0][1], "Via": "x"}, "cookies": ["a=1", "b=2"]}),
    ],
)
def test_result_has_the_form_of_the_event(form: EventForm, expected: dict[str, Any]) -> None:
    common = {"statusCode": 404, "body": '{"a":"ü"}', "isBase64Encoded": False}
    assert result_of(form, 404, HEADERS, '{"a":"ü"}'.encode()) == {**common, **expected}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([("Content-Type", "application/octet-stream")], b"a"),
        ([], b"a"),
        ([("Content-Type", "text/plain")], b"\xff"),
        ([("content-type", "application/json"), ("Content-Encoding", "gzip")], b"\x1f\x8b"),
    ],
)
def test_what_is_not_text_is_in_base64(headers: list[tuple[str, str]], body: bytes) -> None:
    result = result_of(EventForm.GATEWAY_2, 200, headers, body)
    assert result["isBase64Encoded"]
    assert base64.b64decode(result["body"]) == body


def test_status_that_has_no_name_is_described_too() -> None:
    assert result_of(EventForm.LOAD_BALANCER, 299, (), b"")["statusDescription"] == "299 Unknown"
