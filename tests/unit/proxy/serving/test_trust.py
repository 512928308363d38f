"""Clients that may set forwarding fields and choose the side."""

import pytest

from proxy.config.listen import ListenSettings
from proxy.http1.forwarding_headers import ClientAddress
from proxy.serving.trust import TrustPolicy

POLICY = TrustPolicy(ListenSettings(trusted_networks=("10.0.0.0/8", "fd00::/8"), override_token="t0ken"))


@pytest.mark.parametrize(
    ("address", "trusted"),
    [("10.1.2.3", True), ("fd00::1", True), ("192.0.2.1", False), ("", True), ("nonsense", False)],
)
def test_networks_and_unix_sockets_are_trusted(address: str, trusted: bool) -> None:
    assert POLICY.trusts(address) is trusted


@pytest.mark.parametrize(
    ("trusted", "token", "allowed"),
    [(True, "", True), (False, "", False), (False, "wrong", False), (False, "t0ken", True)],
)
def test_override_needs_trust_or_the_token(trusted: bool, token: str, allowed: bool) -> None:
    client = ClientAddress("192.0.2.1", "http", trusted)
    assert POLICY.may_override(client, {"x-shadow-token": token}) is allowed


def test_empty_token_accepts_no_client() -> None:
    client = ClientAddress("192.0.2.1", "http", trusted=False)
    assert not TrustPolicy(ListenSettings()).may_override(client, {"x-shadow-token": ""})
