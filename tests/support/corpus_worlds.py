"""Mismatches of the corpus of faults, each found by the comparison itself: what the solver of causes is measured with."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Any, Final

from comparator.exchanges.model import Effects, EffectsOutcome
from comparator.findings.clustering import Clusterer
from comparator.findings.tokens import Token, tokens_of
from comparator.verdict import Comparator
from tests.support.cause_worlds import World
from tests.support.comparison_faults import (
    EFFECT_FAULTS,
    RESPONSE_FAULTS,
    Fault,
    as_inserts,
    legacy_settings,
    score_response,
    score_rows,
    with_fault,
)
from tests.support.comparisons import NOW, mirrored, response, served
from tests.support.schemas import LEGACY_SCHEMAS

ALONE, TOGETHER = 20, 5
"""Exchanges with one fault, and with both."""
_SETTINGS: Final = legacy_settings()
_COMPARATOR: Final = Comparator(_SETTINGS)


def corpus_pairs() -> Iterable[World]:
    """Return a world for any two faults of the corpus: exchanges with either, and with both.

    Two faults that show the same (the address in another case, or with an invisible character) are one.
    """
    for pair in itertools.combinations((*RESPONSE_FAULTS, *EFFECT_FAULTS), 2):
        yield corpus_world(pair)


def corpus_world(faults: Sequence[Fault]) -> World:
    """Return exchanges with one fault each, and with all of them."""
    shown = {fault.name: tokens_with((fault,)) for fault in faults}
    names = {tokens: name for name, tokens in reversed(shown.items())}
    alone = [(frozenset({names[tokens]}), tokens) for tokens in shown.values() for _ in range(ALONE)]
    everything = tokens_with(tuple(faults))
    visible = frozenset(names[tokens] for tokens in shown.values() if tokens & everything)
    return World([*alone, *((visible, everything) for _ in range(TOGETHER if len(faults) > 1 else 0))])


@cache
def tokens_with(faults: tuple[Fault, ...]) -> frozenset[Token]:
    """Return the tokens of an exchange with these faults; a fault whose place another one took away shows nothing."""
    document, rows = score_response(), score_rows()
    changed, changed_rows = _with(document, faults, RESPONSE_FAULTS), _with(rows, faults, EFFECT_FAULTS)
    comparison = _COMPARATOR.compare(
        "v2_score",
        served(response(document), Effects(EffectsOutcome.ATTRIBUTED, as_inserts(rows), LEGACY_SCHEMAS)),
        mirrored(response(changed), Effects(EffectsOutcome.ATTRIBUTED, as_inserts(changed_rows), LEGACY_SCHEMAS)),
        now=NOW,
    )
    clusterer = Clusterer(_SETTINGS.dynamic, tables=_SETTINGS.tables)
    return tokens_of(one.signature for one in clusterer.occurrences("v2_score", comparison))


def _with(document: Any, faults: Iterable[Fault], known: Collection[Fault]) -> Any:
    for fault in faults:
        if fault in known:
            try:
                document = with_fault(document, fault)
            except (KeyError, IndexError, TypeError):
                continue
    return document
