"""Hosts as Django takes and refuses them."""

import pytest
from django.http.request import split_domain_port, validate_host
from hypothesis import given
from hypothesis import strategies as st

from scorer.api.middleware import host_allowed

ALLOWED = ("testserver", ".example.org", "127.0.0.1", "[::1]")


@pytest.mark.parametrize(
    "host",
    [
        *("testserver", "TESTSERVER", "testserver.", "testserver:80", "testserver.:80", "testserver:"[:-1]),
        *("example.org", "api.example.org", "api.example.org.", "127.0.0.1:65536", "[::1]", "[::1]:8000"),
    ],
)
def test_host_is_allowed(host: str):
    assert host_allowed(host, ALLOWED)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "",
            ".",
            "other",
            "testserver:",
            "testserver:abc",
            "testserver:-1",
            "test_server",
            "testserver..",
            "testserver/",
        ),
        *("evilexample.org", "example.org.evil", "[::1", "::1", "testserver:80:80", "tést", "testserver "),
    ],
)
def test_host_is_refused(host: str):
    assert not host_allowed(host, ALLOWED)


def test_asterisk_allows_any_text():
    assert host_allowed("no host at all:x", ("*",))


@given(st.one_of(st.text("testrv.:[]0123456789-EXAMPLorg", max_size=24), st.sampled_from(ALLOWED), st.text(max_size=8)))
def test_hosts_are_those_that_django_allows(host: str):
    domain, _port = split_domain_port(host)
    assert host_allowed(host, ALLOWED) == bool(domain and validate_host(domain, ALLOWED))
