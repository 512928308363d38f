"""The weights that the embed widget and the Passport app show, and the widget's configuration."""

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
    """What the widget of one community is made of."""

    weights: Mapping[str, float]
    sections: Sequence[Section]


class ShownWeights:
    """Weights by community, kept for a minute, so that a change shows up to a minute late."""

    def __init__(self, database: Database, cache: Cache, *, community_default: str) -> None:
        self._database = database
        self._cache = cache
        self._community_default = community_default

    async def read(self, community: str = "") -> Mapping[str, float]:
        """The weights of the scorer of a community (its id as the client wrote it; nothing means the default one).

        Weights of a customization are not among them. Observed of the legacy.

        Raises:
            ServiceFailedError: there is no such community, or its scorer is broken.
            UnanswerableError: a weight is not a number.
        """
        asked = community or self._community_default
        kept = await self._cache.get(CacheName.WEIGHTS, asked)
        if kept is not None:
            return kept
        weights = as_floats(await self._stored(asked))
        await self._cache.put(CacheName.WEIGHTS, asked, weights)
        return weights

    async def embed_config(self, community: str) -> EmbedConfig:
        """Weights and stamp sections of a community.

        Raises:
            ServiceFailedError: as for `read`.
            UnanswerableError: as for `read`, or no community was named.
        """
        weights = await self.read(community)
        community_id = community_id_of(community)
        if community_id is None:
            raise UnanswerableError("no community named")
        return EmbedConfig(weights, await self._database.read(lambda conn: embed_config.sections(conn, community_id)))

    async def _stored(self, asked: str) -> Any:
        community_id = community_id_of(asked)
        if community_id is None:
            raise self._unknown()
        found = await self._database.read(lambda conn: embed_config.weights(conn, community_id))
        if found is None:
            raise self._unknown()
        return found.value

    def _unknown(self) -> ServiceFailedError:
        # The text names the default community whichever was asked for. Observed of the legacy.
        return ServiceFailedError(
            f"Unable to retrieve configured scorer! settings.CERAMIC_CACHE_SCORER_ID={self._community_default}"
        )


def community_id_of(text: str) -> int | None:
    """The id that a client's text names, None when it can name none."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -_BIGINT_MAX <= number <= _BIGINT_MAX else None


def as_floats(stored: Any) -> dict[str, float]:
    """Stored weights as the numbers of a response; numeric texts become numbers.

    Raises:
        UnanswerableError: a weight is not a number, or there is no object of weights.
    """
    if not isinstance(stored, dict):
        raise UnanswerableError("the weights are no object")
    try:
        return {provider: float(weight) for provider, weight in cast("dict[str, Any]", stored).items()}
    except (TypeError, ValueError) as error:
        raise UnanswerableError("a weight is no number") from error
