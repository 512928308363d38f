"""Decide which clients may set forwarding fields and choose the side. Pure."""

import hmac
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from proxy.config.listen import ListenSettings
from proxy.http1.forwarding_headers import ClientAddress


class TrustPolicy:
    """The trusted networks and the override token of section `listen:`."""

    def __init__(self, listen: ListenSettings) -> None:
        self._networks = [ip_network(network) for network in listen.trusted_networks]
        self._override_token = listen.override_token

    def trusts(self, address: str) -> bool:
        """Return whether a client at this address is trusted; one on a unix socket ("") is."""
        if not address:
            return True
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(_contains(network, address=parsed) for network in self._networks)

    def may_override(self, client: ClientAddress, first_values: Mapping[str, str]) -> bool:
        """Return whether a client may choose the side: from a trusted network, or with the token in X-Shadow-Token."""
        expected = self._override_token
        if client.trusted or not expected:
            return client.trusted
        return hmac.compare_digest(first_values.get("x-shadow-token", "").encode(), expected.encode())


def _contains(network: IPv4Network | IPv6Network, *, address: object) -> bool:
    return address in network  # type: ignore[operator]
