"""Weights for the embed widget and the Passport app, and the widget's configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from scorer.caches import Cache, CacheName
from scorer.db import embed_config
from scorer.db.embed_config import Section
from scorer.db.pool import Database
from scorer.errors import ServiceFailedError, UnanswerableError

_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class EmbedConfig:
    """The widget's configuration of one community."""

    weights: Mapping[str, float]
    sections: Sequence[Section]


class CachedWeights:
    """Weights by community, cached for a minute, so that changes appear up to a minute late."""

    def __init__(self, database: Database, cache: Cache, *, community_default: str) -> None:
        self._database = database
        self._cache = cache
        self._community_default = community_default

    async def read(self, community: str = "") -> Mapping[str, float]:
        """Return the weights of a community's scorer, without those of its customization (as observed of the legacy).

        Args:
            community: the id as the client wrote it; "" stands for the default community.

        Raises:
            ServiceFailedError: the community does not exist, or its scorer is broken.
            UnanswerableError: a weight is not a number.
        """
        community = community or self._community_default
        cached = await self._cache.get(CacheName.WEIGHTS, community)
        if cached is not None:
            return cached
        weights = as_floats(await self._stored(community))
        await self._cache.put(CacheName.WEIGHTS, community, weights)
        return weights

    async def embed_config(self, community: str) -> EmbedConfig:
        """Return the weights and stamp sections of a community.

        Raises:
            ServiceFailedError: see `read`.
            UnanswerableError: see `read`, or the id is empty.
        """
        weights = await self.read(community)
        community_id = community_id_of(community)
        if community_id is None:
            raise UnanswerableError("community_id is empty")
        return EmbedConfig(weights, await self._database.read(lambda conn: embed_config.sections(conn, community_id)))

    async def _stored(self, community: str) -> Any:
        community_id = community_id_of(community)
        if community_id is None:
            raise self._unknown()
        stored = await self._database.read(lambda conn: embed_config.weights(conn, community_id))
        if stored is None:
            raise self._unknown()
        return stored.value

    def _unknown(self) -> ServiceFailedError:
        # The text always names the default community, not the requested one. Observed of the legacy.
        return ServiceFailedError(
            f"Unable to retrieve configured scorer! settings.CERAMIC_CACHE_SCORER_ID={self._community_default}"
        )


def community_id_of(text: str) -> int | None:
    """Parse the id of a community; None if the text is not an integer that the column can hold."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -_BIGINT_MAX <= number <= _BIGINT_MAX else None


def as_floats(stored: Any) -> dict[str, float]:
    """Convert stored weights to the numbers of a response; numeric texts become numbers.

    Raises:
        UnanswerableError: a weight is not a number, or the stored value is not an object.
    """
    if not isinstance(stored, dict):
        raise UnanswerableError("the weights are not an object")
    try:
        return {provider: float(weight) for provider, weight in cast("dict[str, Any]", stored).items()}
    except (TypeError, ValueError) as error:
        raise UnanswerableError("a weight is not a number") from error
