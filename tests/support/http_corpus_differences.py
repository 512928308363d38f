"""The cases in which the proxy intentionally differs from the parser that a case was written for, each with its reason.

gunicorn and llhttp are parts of origin servers and clients, and some cases run them in a lenient mode. A proxy must not be lenient:
the backend may read the same bytes differently. A test checks that the proxy behaves as listed and that every entry is a difference.
"""

from collections import Counter

from tests.support.http_corpus import NO_REFUSAL, Outcome, Request, Response, cases, expected_outcome, expected_response

REFUSED: dict[tuple[int, str], tuple[str, ...]] = {
    (400, "RFC 9112 section 5.2: a folded line is refused"): (
        "valid/compat_obs_fold",
        "valid/compat_obs_fold_huge",
        "request/connection: Multiple tokens with folding",
        "request/connection: Multiple tokens with folding, LWS, and CRLF",
        "request/invalid: Spaces before headers (lenient)",
        "request/sample: Line folding in header value with CRLF",
        "request/sample: X-SSL-Nonsense",
    ),
    (400, "RFC 9112 section 5.1: white space before the colon is refused"): (
        "valid/028",
        "request/connection: Invalid whitespace token with `Connection` header field (lenient)",
        "request/content-length: Invalid whitespace token with `Content-Length` header field (lenient)",
    ),
    (400, "RFC 9112 section 2.2: a line ends in CRLF; a bare CR or LF is refused"): (
        "request/content-length: Missing CRLF-CRLF before body (lenient)",
        "request/invalid: Headers separated by dummy characters (lenient)",
        "request/invalid: Only LFs present (lenient)",
        "request/lenient-headers: Empty headers separated by CR (lenient)",
        "request/sample: No LF after CR (lenient)",
        "request/transfer-encoding: Chunk header not terminated by CRLF (lenient)",
        "request/transfer-encoding: Chunk data not terminated by CRLF (lenient)",
    ),
    (400, "RFC 9110 section 5.5: a control character in a value is refused"): (
        "request/lenient-header-value-relaxed: Control char in header value (relaxed)",
        "request/lenient-headers: Header value (lenient)",
    ),
    (400, "RFC 9112 section 7.1: no white space after a chunk's size"): (
        "request/transfer-encoding: Space after chunk header (lenient)",
    ),
    (400, "RFC 9112 section 6.1: a length beside a coding is refused"): (
        "request/content-length: No error on simultaneous `Content-Length` and `Transfer-Encoding: identity` (lenient)",
        "request/transfer-encoding: POST with `Transfer-Encoding` and `Content-Length` (lenient)",
    ),
    (400, "RFC 9112 section 6.3: the last coding of a request is chunked"): (
        "request/transfer-encoding: POST with `chunked` before other transfer-coding (lenient)",
        "request/transfer-encoding: POST with `chunked` and duplicate transfer-encoding (lenient)",
    ),
    (501, "RFC 9112 section 6.1: an unknown transfer coding"): (
        "valid/025_line",
        "valid/rfc9112_smuggle_gzip_chunked_01",
        "valid/rfc9112_smuggle_te_identity_chunked_01",
        "request/transfer-encoding: POST with `chunked` as last transfer-encoding",
    ),
    (400, "RFC 9112 sections 6.1, 11.2: chunked is the only supported coding, and the field may occur once only"): (
        "valid/025",
        "valid/029",
        "valid/030",
        "request/transfer-encoding: POST with `chunked` as last transfer-encoding (multiple headers)",
    ),
    (400, "RFC 9110 section 9.3.6: CONNECT is not supported"): (
        "valid/rfc9112_target_authority_connect_01",
        "valid/rfc9112_target_authority_ipv6_01",
        "request/method: CONNECT request",
        "request/method: CONNECT request with CAPS",
        "request/method: CONNECT with body",
        "request/uri: Underscore in hostname",
    ),
    (400, "RFC 9112 section 3.2.4: the asterisk is for OPTIONS"): (
        "request/method: M-SEARCH request",
        "request/method: PRI request HTTP2",
    ),
    (400, "RFC 9110 section 4.2.4: user information in a target is an error"): (
        "valid/rfc9112_target_absolute_userinfo_01",
        "request/uri: `host:port` and basic auth",
    ),
    (400, "RFC 9112 section 2.3: this is not HTTP/1.0 or HTTP/1.1"): (
        "request/method: SOURCE request with ICE",
        "request/method: OPTIONS request with RTSP",
        "request/method: ANNOUNCE request with RTSP",
        "request/sample: No HTTP version",
    ),
    (505, "RFC 9110 section 15.6.6: another major version"): (
        "request/lenient-version: Invalid HTTP version (lenient)",
    ),
    (400, "the PROXY protocol is not HTTP (RFC 9112 section 3); it is not supported"): (
        "valid/pp_01",
        "valid/pp_02",
        "valid/pp_04",
        "valid/pp_05",
    ),
}
"""Accepted by the corpus, mostly in a lenient mode; refused by the proxy, with that status."""

_WITHOUT_EXTENSION = Request("POST", "/chunked_w_unicorns_after_length", (), b"aa")

FORWARDED: dict[tuple[str, str], Outcome] = {
    ("invalid/003c", "RFC 9110 section 9.1: a method is any token"): Outcome((Request("-bl", "/foo", (), b""),), 0),
    ("request/invalid: Invalid method", "RFC 9110 section 9.1: the origin server knows its methods"): Outcome(
        (Request("MKCOLA", "/", (), b""),), 0
    ),
    (
        "request/invalid: HTTP protocol and ANNOUNCE method",
        "RFC 9110 section 9.1: the origin server knows its methods",
    ): Outcome((Request("ANNOUNCE", "/music/sweet/music", (), b""),), 0),
    ("valid/031compat", "RFC 9110 section 9.1: a method is case-sensitive"): Outcome(
        (Request("-blargh", "/foo", (), b""),), 0
    ),
    ("invalid/019", "the client's X-Forwarded-Proto is not trusted, so it is not checked"): Outcome(
        (Request("GET", "/test", (("x-forwarded-ssl", "off"),), b""),), 0
    ),
    ("invalid/040", "names with an underscore are dropped where a backend could take them for others"): Outcome(
        (Request("GET", "/keep/same/as?invalid/040", (), b"tricked"),), 0
    ),
    ("valid/040_compat", "names with an underscore are dropped where a backend could take them for others"): Outcome(
        (Request("GET", "/keep/same/as?invalid/040", (), b"tricked"),), 0
    ),
    ("invalid/chunked_07", "names with an underscore are dropped where a backend could take them for others"): Outcome(
        (Request("POST", "/chunked_ambiguous_header_mapping", (), b"hello world"),), 0
    ),
    (
        "invalid/041",
        "RFC 9110 section 5.3: a proxy keeps the order of repeated fields; it does not interpret them",
    ): Outcome(
        (
            Request(
                "GET", "/stuff/here?foo=bar", (("content-type", "application/json"), ("content-type", "text/html")), b""
            ),
        ),
        0,
    ),
    (
        "invalid/rfc9110_trailer_forbidden_cl_01",
        "RFC 9110 section 6.5.1: trailers are discarded, whatever they are",
    ): Outcome((Request("POST", "/p", (), b"hello"),), 0),
    (
        "invalid/rfc9110_trailer_forbidden_host_01",
        "RFC 9110 section 6.5.1: trailers are discarded, whatever they are",
    ): Outcome((Request("POST", "/p", (), b"hello"),), 0),
    (
        "invalid/rfc9110_trailer_forbidden_te_01",
        "RFC 9110 section 6.5.1: trailers are discarded, whatever they are",
    ): Outcome((Request("POST", "/p", (), b"hello"),), 0),
    (
        "invalid/rfc9112_leading_crlf_02",
        "RFC 9112 section 2.2: at least one empty line before a request is ignored, here a few",
    ): Outcome((Request("GET", "/", (), b""),), 0),
    (
        "invalid/rfc9112_target_non_ascii_01",
        "bytes beyond ASCII in a target are for the backend to interpret; they are forwarded unchanged",
    ): Outcome((Request("GET", "/api/\xe9esource/456", (), b""),), 0),
    (
        "invalid/rfc9112_target_non_ascii_02",
        "bytes beyond ASCII in a target are for the backend to interpret; they are forwarded unchanged",
    ): Outcome((Request("GET", "/\xc3\xa0%20k", (), b""),), 0),
    (
        "request/uri: Disallow UTF-8 in URI path in strict mode",
        "bytes beyond ASCII in a target are for the backend to interpret; they are forwarded unchanged",
    ): Outcome((Request("GET", "/\xce\xb4\xc2\xb6/\xce\xb4t/pope?q=1", (), b""),), 0),
    (
        "request/transfer-encoding: No extension after semicolon",
        "RFC 9112 section 7.1.1: extensions are ignored and removed, so the backend cannot misread them",
    ): Outcome((_WITHOUT_EXTENSION,), 0),
    (
        "request/transfer-encoding: Unbalanced chunk extensions quoting",
        "RFC 9112 section 7.1.1: extensions are ignored and removed; the case's last chunk has no end",
    ): Outcome((), 0),
    (
        "request/lenient-headers: Second request header value (lenient)",
        "RFC 9110 section 5.5: a control character in a value is refused, the request before it is served",
    ): Outcome((Request("GET", "/url", (("header1", "Okay"),), b""),), 400),
    ("valid/099", "RFC 9112 section 8: a request whose body is shorter than Content-Length is not forwarded"): Outcome(
        (), 0
    ),
}
"""Refused by the corpus, or read differently; the outcome at the proxy."""

NO_RESPONSE: dict[str, tuple[str, ...]] = {
    "RFC 9110 section 7.8: the request had no Upgrade": (
        "response/connection: HTTP 101 response with Upgrade and Content-Length header",
        "response/connection: HTTP 101 response with Upgrade and Transfer-Encoding header",
    ),
    "RFC 9112 sections 2.1, 2.2: a response begins with its status line; empty lines are allowed before requests only": (
        "response/connection: HTTP 100 first, then 400",
        "response/sample: Response starting with CRLF",
    ),
    "RFC 9112 section 2.2: a line ends in CRLF; a bare CR or LF is refused": (
        "response/invalid: Bare CR after response line (lenient)",
        "response/invalid: Only LFs present and no body (lenient)",
        "response/invalid: Only LFs present (lenient)",
        "response/sample: No carriage ret (lenient)",
    ),
    "RFC 9112 section 2.3: this is not HTTP/1.0 or HTTP/1.1": (
        "response/lenient-version: Invalid HTTP version (lenient)",
        "response/sample: RTSP response",
        "response/sample: ICE response",
        "response/sample: HTTP version 0.9",
    ),
    "RFC 9112 section 7.4: no coding but chunked was offered to the backend": (
        "response/transfer-encoding: `chunked` before other transfer-encoding",
        "response/transfer-encoding: multiple transfer-encoding where chunked is not the last one",
        "response/transfer-encoding: `chunkedchunked` transfer-encoding does not enable chunked enconding",
    ),
    "RFC 9112 section 5.2: a folded line is refused": (
        "response/transfer-encoding: Invalid OBS fold after chunked value",
    ),
}
"""Responses that llhttp accepts and for which the client gets a 502."""

RESPONSES: dict[tuple[str, str], Response] = {
    (
        "response/transfer-encoding: No extension after semicolon",
        "RFC 9112 section 7.1.1: extensions are ignored and removed, so the backend cannot misread them",
    ): Response((), 200, "OK", (("host", "localhost"),), b"aa"),
}
"""Responses that llhttp refuses and the proxy forwards."""


def requests_that_differ() -> dict[str, Outcome]:
    """Return the outcome of each differing case about requests, by name."""
    refused = {name: Outcome((), status) for (status, _), names in REFUSED.items() for name in names}
    return refused | {name: outcome for (name, _), outcome in FORWARDED.items()}


def responses_that_differ() -> dict[str, Response | None]:
    """Return the response of each differing case about responses, by name; None for a 502."""
    none: dict[str, Response | None] = {name: None for names in NO_RESPONSE.values() for name in names}
    return none | {name: response for (name, _), response in RESPONSES.items()}


def main() -> None:
    """Print the number of cases, and the number of differing ones by reason."""
    for corpus in ("gunicorn", "llhttp"):
        requests = cases(corpus, "request")
        refused = sum(expected_outcome(case).refused != NO_REFUSAL for case in requests.values())
        differ = len(requests.keys() & requests_that_differ().keys())
        print(f"{corpus}: {len(requests)} cases of requests, {refused} to be refused; {differ} differ")
    responses = cases("llhttp", "response")
    read = sum(expected_response(case) is not None for case in responses.values())
    print(
        f"llhttp: {len(responses)} cases of responses, {read} to reach the client; {len(responses_that_differ())} differ"
    )
    reasons = Counter({f"refused with {status}: {why}": len(names) for (status, why), names in REFUSED.items()})
    reasons.update(f"read: {why}" for _, why in FORWARDED)
    reasons.update({f"no response: {why}": len(names) for why, names in NO_RESPONSE.items()})
    reasons.update(f"a response: {why}" for _, why in RESPONSES)
    for reason, count in reasons.most_common():
        print(f"{count:4}  {reason}")


if __name__ == "__main__":
    main()
