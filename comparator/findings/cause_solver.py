"""Find the causes of mismatches: the smallest set of faults that explains which tokens occur together. Pure.

The input is how often each distinct set of tokens occurred. A fault makes some tokens always and others sometimes; two faults may be in
one exchange, may share a token, and one may hide what the other would show. Example, with the counts of exchanges:

    90  {row stamp, column score, field score}       cause A: anchor {row stamp},  core {column score, field score}
    60  {row stamp, field score, field passing}               cond {field passing}
    40  {row event}                                  cause B: anchor {row event}
    10  {row event, row stamp, column score, field score}     A and B

Levels are solved from the rows down to the headers (`comparator.findings.tokens`), so a cause is anchored where it is most telling, and what
lies further down belongs to it. At each level, first sets without any cause become causes (seeds), then tokens that are left over are
attached to the causes that they come with, or become causes of their own. Thresholds are shares of exchanges, never of sets. Every tie is
broken by the tokens' names, so the result does not depend on the order of the input.

Where findings are lost (`comparator.findings.lost_findings`), causes are solved twice: with the first solution, sets get back the tokens that
they lack by loss, and the second one is of these sets.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from comparator.findings.lost_findings import (
    ABSENCE_MAX,
    EXCHANGES_MIN,
    LOSS_MIN,
    is_nearly_always,
    loss_rate,
    may_be_loss,
)
from comparator.findings.token_bits import TokenBits, bits
from comparator.findings.tokens import Level, Token

SETS_SOLVED_MAX: Final = 400
"""Distinct sets, the commonest first, that causes are solved from; the rest is explained by them."""
_ROUNDS_MAX: Final = 6
_SUPPORTS: Final = (2, 1)
"""Exchanges that a new cause needs: frequent ones are found first, so that a chance set does not take their tokens."""
_CORE_SHARE: Final = 0.8
_CLEAN_MIN: Final = 3
_CARRIER_SHARE_MIN: Final = 0.05
_CARRIED_SHARE: Final = 0.9
_PARTIAL_ANCHOR_MIN: Final = 4
_PARTIAL_SHARE: Final = 0.75
_CONTRADICTION_MIN: Final = 3
_RESTORES_MAX: Final = 3
_WHOLE_MIN: Final = 10
"""Exchanges with all tokens, for some of which it is looked whether they lost any."""


@dataclass(frozen=True, slots=True)
class SolvedCause:
    """One cause.

    Attributes:
        level: the level of its anchor.
        anchor: the tokens by which it is recognised; never empty.
        alternatives: other anchors, from causes that were found to be this one.
        core: tokens that it always shows, where they are not hidden; they contain the anchor.
        conditional: tokens that it shows sometimes.
    """

    level: Level
    anchor: frozenset[Token]
    alternatives: tuple[frozenset[Token], ...]
    core: frozenset[Token]
    conditional: frozenset[Token]


@dataclass(frozen=True, slots=True)
class Solution:
    """Causes, the largest first, and the indexes of those of each set; a set that no cause explains has none."""

    causes: tuple[SolvedCause, ...] = ()
    assigned: Mapping[frozenset[Token], tuple[int, ...]] = field(
        default_factory=dict[frozenset[Token], tuple[int, ...]]
    )


def solve(counts: Mapping[frozenset[Token], int], *, sets_max: int = SETS_SOLVED_MAX) -> Solution:
    """Find the causes.

    Args:
        counts: number of exchanges by the set of tokens that occurred in them.
        sets_max: distinct sets to solve from.
    """
    tokens = TokenBits(frozenset[Token]().union(*counts))
    sets = {tokens.mask(members): count for members, count in counts.items() if members and count > 0}
    solver = _Solver(tokens, _commonest(sets, sets_max))
    solver.solve()
    whole = {mask: mask for mask in sets}
    rate = solver.loss_rate()
    if rate >= LOSS_MIN:
        whole = solver.restored(sets, rate)
        added = Counter[int]()
        for mask, count in sets.items():
            added[whole[mask]] += count
        solver = _Solver(tokens, _commonest(added, sets_max), rate=rate)
        restored = solver.solve()
        whole = {mask: restored.get(other, other) for mask, other in whole.items()}
    return solver.solution(whole)


def _commonest(sets: Mapping[int, int], sets_max: int) -> list[tuple[int, int]]:
    return sorted(sets.items(), key=lambda item: (-item[1], item[0].bit_count(), item[0]))[:sets_max]


@dataclass(slots=True, eq=False)
class _Cause:
    level: int
    anchor: int
    core: int
    alternatives: list[int] = field(default_factory=list[int])
    conditional: int = 0
    matches: list[int] = field(default_factory=list[int])
    """For each set the part of it by which the cause is recognised there; 0 where it is not present."""

    @property
    def shown(self) -> int:
        """All tokens that the cause shows, always or sometimes."""
        return self.core | self.conditional


@dataclass(slots=True)
class _LeftOver:
    """The remainder of a round of causes: the sets of each rest, the causes made of rests, and the causes that each token comes with."""

    rests: Mapping[int, Sequence[int]]
    created: list[_Cause] = field(default_factory=list[_Cause])
    carriers: dict[int, list[_Cause]] = field(default_factory=dict[int, list[_Cause]])

    def sets_with(self, bit: int) -> list[int]:
        """Return the sets in which a token is left over."""
        return [index for rest, indexes in self.rests.items() if rest & bit for index in indexes]


def _shown(causes: Iterable[tuple[_Cause, int]]) -> int:
    shown = 0
    for cause, _ in causes:
        shown |= cause.core | cause.conditional
    return shown


class _Solver:
    """Solve the causes of sets; with a rate of loss, sets that lack a token by loss get it back."""

    def __init__(self, tokens: TokenBits, sets: Sequence[tuple[int, int]], *, rate: float = 0.0) -> None:
        self._tokens = tokens
        self._rate = rate
        self._sets = [mask for mask, _ in sets]
        self._counts = [count for _, count in sets]
        self._hidden = [tokens.hidden(mask) for mask in self._sets]
        self._causes: list[_Cause] = []

    def solve(self) -> dict[int, int]:
        """Find the causes of the sets; return what each set has become."""
        given = list(self._sets)
        for support in _SUPPORTS:
            for level in Level:
                for _ in range(_ROUNDS_MAX):
                    if self._rate:
                        self._restore_rests(level)
                    if not self._round(level, support):
                        break
                self._absorb(level)
        self._fold()
        self._merge()
        return dict(zip(given, self._sets, strict=True))

    def solution(self, whole: Mapping[int, int]) -> Solution:
        """Assign all sets; causes that no set has are dropped.

        Args:
            whole: for each set, the set with what it lost.
        """
        explained = {mask: self._explain_other(mask) for mask in set(whole.values())}
        counts = Counter[int]()
        for mask, count in zip(self._sets, self._counts, strict=True):
            counts.update({id(cause): count for cause in explained[mask]})
        used = {id(cause) for causes in explained.values() for cause in causes}
        kept = sorted(
            (cause for cause in self._causes if id(cause) in used), key=lambda c: (-counts[id(c)], c.level, c.anchor)
        )
        index = {id(cause): number for number, cause in enumerate(kept)}
        members = self._tokens.members
        return Solution(
            tuple(
                SolvedCause(
                    Level(c.level),
                    members(c.anchor),
                    tuple(members(alternative) for alternative in c.alternatives),
                    members(c.core),
                    members(c.conditional & ~c.core),
                )
                for c in kept
            ),
            {members(mask): tuple(sorted(index[id(c)] for c in explained[other])) for mask, other in whole.items()},
        )

    # Which causes a set has.

    def _match(self, cause: _Cause, mask: int, hidden: int) -> int:
        anchor = cause.anchor
        seen = anchor & mask
        if not seen and not cause.alternatives:
            return 0
        if seen == anchor:
            return 0 if self._contradicted(cause, mask, hidden) else anchor
        visible = anchor & ~hidden
        if visible != anchor:
            if visible and visible & mask == visible:
                return visible
        elif anchor.bit_count() >= _PARTIAL_ANCHOR_MIN and seen.bit_count() >= _PARTIAL_SHARE * anchor.bit_count():
            return seen
        for alternative in cause.alternatives:
            if alternative & mask == alternative:
                return alternative
        return 0

    def _contradicted(self, cause: _Cause, mask: int, hidden: int) -> bool:
        """Return whether a set has the anchor of a cause, but mostly other tokens in place of its core.

        Two faults may share their most telling token: `score` differs with a wrong weight, and with a lost field.
        """
        core = cause.core & ~cause.anchor & ~hidden
        if core.bit_count() < _CONTRADICTION_MIN:
            return False
        seen = (core & mask).bit_count()
        foreign = (mask & ~hidden & ~cause.shown).bit_count()
        return seen < 0.5 * core.bit_count() and foreign >= _CONTRADICTION_MIN and foreign > seen

    def _rematch(self, cause: _Cause) -> None:
        cause.matches = [
            self._match(cause, mask, hidden) for mask, hidden in zip(self._sets, self._hidden, strict=True)
        ]

    def _explain(self, index: int, level: int) -> tuple[list[_Cause], int]:
        """Return the causes of a set up to a level, and the tokens that they leave."""
        present = [(c, c.matches[index]) for c in self._causes if c.level <= level and c.matches[index]]
        return self._choose(self._sets[index], present)

    def _explain_other(self, mask: int) -> list[_Cause]:
        """Return the causes of any set."""
        hidden = self._tokens.hidden(mask)
        matches = ((cause, self._match(cause, mask, hidden)) for cause in self._causes)
        return self._choose(mask, [(cause, match) for cause, match in matches if match])[0]

    def _choose(self, mask: int, present: list[tuple[_Cause, int]]) -> tuple[list[_Cause], int]:
        """Choose the fewest causes, of those present, that explain what all of them explain; return them and what they leave."""
        if not present:
            return [], mask
        if mask & self._tokens.levels[Level.STATUS]:
            failing = [cause for cause, _ in present if cause.level == Level.STATUS]
            if failing:
                return failing, 0
        ordered = sorted(
            present, key=lambda p: (p[0].level, -(p[0].core & mask).bit_count(), -p[1].bit_count(), p[0].anchor)
        )
        kept: list[tuple[_Cause, int]] = []
        for cause, match in ordered:
            if self._adds(cause, match, mask, _shown(kept)):
                kept.append((cause, match))
        for item in sorted(kept, key=lambda p: (-p[0].level, (p[0].core & mask).bit_count(), p[0].anchor)):
            others = [other for other in kept if other is not item]
            if others and not self._adds(*item, mask, _shown(others)):
                kept = others
        return [cause for cause, _ in kept], mask & ~_shown(kept)

    def _adds(self, cause: _Cause, match: int, mask: int, shown: int) -> bool:
        """Return whether a cause explains what others do not: its anchor, or most of its core."""
        if match & ~shown:
            return True
        return 2 * (cause.core & mask & ~shown).bit_count() >= cause.core.bit_count()

    # What was lost.

    def loss_rate(self) -> float:
        """Return the share of findings that are lost."""
        absences: list[tuple[float, int]] = []
        for cause in self._causes:
            present = [index for index, match in enumerate(cause.matches) if match == cause.anchor]
            for bit in bits(cause.core & ~cause.anchor):
                seen, visible = self._seen(bit, present)
                if visible >= EXCHANGES_MIN and visible - seen <= ABSENCE_MAX * visible:
                    absences.append((1 - seen / visible, visible))
        return loss_rate(absences)

    def restored(self, sets: Mapping[int, int], rate: float) -> dict[int, int]:
        """Return each set with the tokens that it lacks by loss: those that its causes nearly always show.

        Args:
            sets: count of each set.
            rate: share of findings that are lost.
        """
        for cause in self._causes:
            self._refine(cause)
        explained = {mask: self._explain_other(mask) for mask in sets}
        counts = Counter[_Cause]()
        for mask, causes in explained.items():
            counts.update(dict.fromkeys(causes, sets[mask]))
        always = {
            cause: self._always(cause, explained, rate) for cause in self._causes if counts[cause] >= EXCHANGES_MIN
        }
        lacking: dict[int, list[tuple[_Cause, int]]] = {}
        found = Counter[tuple[_Cause, int]]()
        for mask, causes in explained.items():
            if mask & self._tokens.levels[Level.STATUS]:
                continue
            visible = ~mask & ~self._tokens.hidden(mask)
            own = self._without_loss(mask, visible, causes, always, counts, rate)
            lacking[mask] = [(c, always[c] & visible) for c in own if always.get(c, 0) & visible]
            found.update(dict.fromkeys(lacking[mask], sets[mask]))
        whole: dict[int, int] = {}
        for mask in sets:
            whole[mask] = mask
            for cause, lost in lacking.get(mask, ()):
                if may_be_loss(found[cause, lost], counts[cause], lost.bit_count(), rate):
                    whole[mask] |= lost
        return whole

    def _always(self, cause: _Cause, explained: Mapping[int, Sequence[_Cause]], rate: float) -> int:
        """Return the tokens that a cause shows in all of its exchanges, but for losses."""
        own = [
            index
            for index, match in enumerate(cause.matches)
            if match == cause.anchor and cause in explained[self._sets[index]]
        ]
        always = cause.anchor
        for bit in bits(cause.core & ~cause.anchor):
            if is_nearly_always(*self._seen(bit, own), rate):
                always |= bit
        return always

    def _without_loss(
        self,
        mask: int,
        visible: int,
        causes: Sequence[_Cause],
        always: Mapping[_Cause, int],
        counts: Counter[_Cause],
        rate: float,
    ) -> Sequence[_Cause]:
        """Return the causes of a set: of those that were found, a rare one gives way to one that lost its anchor there and shows the rest.

        Args:
            mask: the set.
            visible: tokens that it lacks, and that would be seen in it.
            causes: its causes.
            always: tokens that each of the larger causes always shows.
            counts: exchanges of each cause.
            rate: share of findings that are lost.
        """
        best: tuple[int, int, int, list[_Cause]] | None = None
        for number, (cause, shown) in enumerate(always.items()):
            lost = shown & visible
            if cause in causes or not lost & cause.anchor:
                continue
            kept = [c for c in causes if not may_be_loss(counts[c], counts[cause], lost.bit_count(), rate)]
            rest = mask
            for other in kept:
                rest &= ~other.shown
            if rest and not rest & ~cause.shown:
                item = (lost.bit_count(), -counts[cause], number, [*kept, cause])
                best = item if best is None else min(best, item, key=lambda i: i[:3])
        return causes if best is None else best[3]

    def _restore_rests(self, level: int) -> None:
        """Give sets without a cause the tokens of a level that they lack by loss: without them they would be seeds, the smallest first."""
        without = [index for index in range(len(self._sets)) if not self._has_cause(index, level)]
        for _ in range(_RESTORES_MAX):
            rests = self._rests(level, without)
            counts = {rest: self._count(indexes) for rest, indexes in rests.items()}
            wholes = {rest: self._whole(rest, counts) for rest in sorted(rests, key=lambda rest: (counts[rest], rest))}
            if all(rest == whole for rest, whole in wholes.items()):
                return
            for rest, whole in wholes.items():
                for index in rests[rest]:
                    self._sets[index] |= whole
            self._hidden = [self._tokens.hidden(mask) for mask in self._sets]
            for cause in self._causes:
                self._rematch(cause)

    def _whole(self, rest: int, counts: Mapping[int, int]) -> int:
        """Return the rest of which this one lost tokens: the one with the fewest more, the commonest first; itself for none."""
        count, best = counts[rest], (0, 0, rest)
        for other, whole in counts.items():
            lost = (other & ~rest).bit_count()
            if not lost or other & rest != rest or whole < max(_WHOLE_MIN, count + 1):
                continue
            if may_be_loss(count, whole, lost, self._rate) and (best[2] == rest or (lost, -whole, other) < best):
                best = (lost, -whole, other)
        return best[2]

    def _rests(self, level: int, indexes: Iterable[int]) -> dict[int, list[int]]:
        """Return the sets of each rest: the tokens of a level that the causes found leave."""
        rests: dict[int, list[int]] = {}
        for index in indexes:
            rest = self._explain(index, level)[1] & self._tokens.levels[level]
            if rest:
                rests.setdefault(rest, []).append(index)
        return rests

    def _seen(self, bit: int, indexes: Iterable[int]) -> tuple[int, int]:
        """Return the exchanges of sets that show a token, and those in which it would be seen."""
        visible = [index for index in indexes if not self._hidden[index] & bit]
        return self._count(index for index in visible if self._sets[index] & bit), self._count(visible)

    # Finding causes.

    def _round(self, level: int, support: int) -> bool:
        """Find causes among what is left at a level; return whether anything changed."""
        rests = self._rests(level, range(len(self._sets)))
        ordered = sorted(rests, key=lambda rest: (rest.bit_count(), -sum(self._counts[i] for i in rests[rest]), rest))
        seeded = [self._seed(level, rest, rests[rest], support) for rest in ordered]
        if any(seeded):
            return True
        left_over = _LeftOver(rests)
        attached = [self._attach(level, rest, rests[rest], support, left_over) for rest in ordered]
        return any(attached)

    def _count(self, indexes: Iterable[int]) -> int:
        return sum(self._counts[index] for index in indexes)

    def _has_cause(self, index: int, level: int) -> bool:
        return any(c.matches[index] for c in self._causes if c.level <= level)

    def _seed(self, level: int, rest: int, indexes: Sequence[int], support: int) -> bool:
        """Make a cause of a rest in sets that have none yet, or join it to a cause of which it is another face."""
        if self._count(index for index in indexes if not self._has_cause(index, level)) < support:
            return False
        sibling = self._sibling(level, rest)
        if sibling is None:
            self._create(level, rest)
            return True
        common = sibling.anchor & rest
        sibling.conditional |= (sibling.anchor | rest) & ~common
        sibling.anchor = common
        self._rematch(sibling)
        self._refine(sibling)
        return True

    def _sibling(self, level: int, rest: int) -> _Cause | None:
        """Return a cause whose anchor shares most places with the rest: `false / true` and `true / false` of one fault."""
        places = self._tokens.places(rest)
        for cause in self._causes:
            common = cause.anchor & rest
            if cause.level != level or not common or common == cause.anchor:
                continue
            if common == rest and self._exceeds(cause.anchor, rest):
                continue
            own = self._tokens.places(cause.anchor)
            if len(own & places) < 0.5 * len(own | places):
                continue
            with_common = [i for i, mask in enumerate(self._sets) if mask & common == common]
            either = [
                i for i in with_common if self._sets[i] & cause.anchor == cause.anchor or self._sets[i] & rest == rest
            ]
            if self._count(either) >= 0.5 * self._count(with_common):
                return cause
        return None

    def _exceeds(self, anchor: int, rest: int) -> bool:
        """Return whether sets with an anchor always show so much more than those with a part of it alone that they have another fault."""
        where = [index for index, mask in enumerate(self._sets) if mask & anchor == anchor]
        alone = [index for index, mask in enumerate(self._sets) if mask & anchor == rest]
        own = self._common(alone)
        return self._count(where) >= _CLEAN_MIN and (self._common(where) & ~own).bit_count() >= 4 * own.bit_count()

    def _common(self, indexes: Iterable[int]) -> int:
        """Return the tokens that all of some sets show."""
        shown = -1
        for index in indexes:
            shown &= self._sets[index]
        return shown

    def _create(self, level: int, anchor: int) -> _Cause:
        cause = _Cause(level, anchor, anchor)
        self._causes.append(cause)
        self._rematch(cause)
        self._refine(cause)
        return cause

    def _refine(self, cause: _Cause) -> None:
        """Set the core: the tokens in most exchanges of the cause, of those without another cause if there are enough."""
        present = [index for index, match in enumerate(cause.matches) if match]
        clean = [
            i
            for i in present
            if not any(c.matches[i] for c in self._causes if c is not cause and c.level <= cause.level)
        ]
        chosen = clean if self._count(clean) >= _CLEAN_MIN else present
        cause.core = cause.anchor | self._nearly_always(chosen, cause.level)
        self._rematch(cause)

    def _nearly_always(self, indexes: Sequence[int], level: int) -> int:
        """Return the tokens, of a level and further ones, that show in most exchanges of sets."""
        everything = 0
        for index in indexes:
            everything |= self._sets[index]
        always = 0
        for bit in bits(everything & self._tokens.below[level]):
            seen, visible = self._seen(bit, indexes)
            if visible and seen >= _CORE_SHARE * visible:
                always |= bit
        return always

    def _attach(self, level: int, rest: int, indexes: Sequence[int], support: int, left_over: _LeftOver) -> bool:
        """Attach what is left over beside other causes to the causes that it comes with, or make a cause of it."""
        if self._count(indexes) < support:
            return False
        for cause in left_over.created:
            if all(cause.matches[index] for index in indexes):
                rest &= ~cause.shown
        if not rest:
            return False
        alone, carriers, changed = 0, list[_Cause](), False
        for bit in bits(rest):
            own = self._carriers(level, bit, left_over)
            alone |= 0 if own else bit
            for carrier in own:
                carriers += [] if carrier in carriers else [carrier]
                if not carrier.conditional & bit:
                    changed = True
                    carrier.conditional |= bit
                    self._rematch(carrier)
        if not alone and len(carriers) == 1 and self._is_another(carriers[0], rest, level):
            carriers[0].conditional &= ~rest
            alone = rest
        if alone:
            left_over.created.append(self._create(level, alone))
            left_over.carriers.clear()
        return changed or bool(alone)

    def _carriers(self, level: int, bit: int, left_over: _LeftOver) -> list[_Cause]:
        """Return the fewest causes with which a token comes nearly always; none if it also comes by itself."""
        known = left_over.carriers.get(bit)
        if known is not None:
            return known
        where = left_over.sets_with(bit)
        carriers = self._cover([c for c in self._causes if c.level <= level], where)
        carried = self._count(i for i in where if any(c.matches[i] for c in carriers))
        if carried < _CARRIED_SHARE * self._count(where):
            carriers = []
        left_over.carriers[bit] = carriers
        return carriers

    def _cover(self, causes: Sequence[_Cause], where: Sequence[int]) -> list[_Cause]:
        """Return the fewest of these causes that are present in most of the sets, the one with the most exchanges first."""
        total = self._count(where)
        uncovered = set(where)
        chosen: list[_Cause] = []
        while uncovered:
            covered = [
                (self._count(i for i in uncovered if c.matches[i]), -c.level, -number, c)
                for number, c in enumerate(causes)
                if c not in chosen
            ]
            count, _, _, best = max(covered, key=lambda item: item[:3], default=(0, 0, 0, None))
            if best is None or not count or count < _CARRIER_SHARE_MIN * total:
                break
            chosen.append(best)
            uncovered -= {i for i in uncovered if best.matches[i]}
        return chosen

    def _is_another(self, carrier: _Cause, rest: int, level: int) -> bool:
        """Return whether a rest that comes with some exchanges of a cause only is another fault, and no conditional part of it.

        It is if much more comes with it than the cause has, or if it is the row in place of the one that the cause lacks: with another key
        in it a row is missing and one is extra; a row that is only missing is another fault.
        """
        where = [index for index, mask in enumerate(self._sets) if mask & rest == rest]
        if carrier.level != level or self._count(where) < _CLEAN_MIN:
            return False
        always = self._common(where)
        without = any(match and self._sets[i] & rest != rest for i, match in enumerate(carrier.matches))
        outweighs = (always & ~carrier.core & ~rest).bit_count() >= 4 * carrier.core.bit_count()
        return without and (outweighs or bool(self._tokens.replaced(rest) & carrier.anchor))

    # Joining causes that are one.

    def _absorb(self, level: int) -> None:
        """Make a cause that hardly ever comes alone a conditional part of those with which it comes."""
        total = self._count(range(len(self._sets)))
        upto = [cause for cause in self._causes if cause.level <= level]
        for cause in [c for c in upto if c.level == level]:
            present = [index for index, match in enumerate(cause.matches) if match]
            alone = self._count(i for i in present if not any(c.matches[i] for c in upto if c is not cause))
            if alone > 0.15 * self._count(present):
                continue
            base = alone / total
            hosts: list[_Cause] = []
            for other in upto:
                if other is cause or (other.level == level and other.core.bit_count() < cause.core.bit_count() / 2):
                    continue
                theirs = [index for index, match in enumerate(other.matches) if match]
                share = self._count(i for i in theirs if cause.matches[i]) / max(1, self._count(theirs))
                if share >= 0.05 and share >= 3 * base:
                    hosts.append(other)
            hosts = self._cover(hosts, present)
            if len(hosts) >= 2 or (hosts and alone <= 0.10 * self._count(present)):
                for host in hosts:
                    host.conditional |= cause.core

    def _assigned(self) -> dict[_Cause, list[int]]:
        """Return the sets of each cause."""
        assigned: dict[_Cause, list[int]] = {cause: [] for cause in self._causes}
        for index in range(len(self._sets)):
            for cause in self._explain(index, Level.HEADER)[0]:
                assigned[cause].append(index)
        return assigned

    def _fold(self) -> None:
        """Make a rare cause another anchor of one that shows the same: a finding of it was lost, cut off or not captured.

        It is rare enough if the rate of loss explains it. Where nothing is lost that is a single exchange; two are a fault of their own:

            60  {row stamp, column score, field score}
             2  {column score, field score}
        """
        rate = self._rate or self.loss_rate()
        assigned = self._assigned()
        counts = {cause: self._count(indexes) for cause, indexes in assigned.items()}
        for cause in sorted(self._causes, key=lambda c: (counts[c], c.anchor)):
            own = self._own_core(cause, assigned[cause])
            for other in sorted(self._causes, key=lambda c: (-counts[c], c.anchor)):
                if other is cause or other.level > cause.level:
                    continue
                rare = may_be_loss(counts[cause], counts[other], 1, rate)
                core = other.core if other.level == cause.level else other.core & ~other.anchor
                inside = not cause.anchor & ~other.shown and cause.anchor & other.core
                if rare and inside and core and (own & core).bit_count() >= 0.6 * core.bit_count():
                    self._join(cause, other)
                    break

    def _merge(self) -> None:
        """Join two causes of one level that show mostly the same."""
        changed = True
        while changed:
            changed = False
            assigned = self._assigned()
            counts = {cause: self._count(indexes) for cause, indexes in assigned.items()}
            cores = {cause: self._own_core(cause, indexes) for cause, indexes in assigned.items()}
            ordered = sorted(self._causes, key=lambda c: (-counts[c], c.anchor))
            for number, other in enumerate(ordered):
                joined = next((cause for cause in ordered[number + 1 :] if self._are_one(cause, other, cores)), None)
                if joined is not None:
                    self._join(joined, other)
                    changed = True
                    break

    def _own_core(self, cause: _Cause, assigned: Sequence[int]) -> int:
        """Return the core by the exchanges that have the cause: that of a rare one may be of exchanges that another one explains."""
        return self._nearly_always(assigned, cause.level) if assigned else cause.core

    def _are_one(self, cause: _Cause, other: _Cause, cores: Mapping[_Cause, int]) -> bool:
        own, theirs = cores[cause], cores[other]
        shared = own & theirs
        if cause.level != other.level or not shared or self._tokens.replaced(own ^ theirs) & shared:
            return False
        count = shared.bit_count()
        smaller = min(own.bit_count(), theirs.bit_count())
        if count < 0.75 * smaller or count < 0.34 * (own | theirs).bit_count():
            return False
        for bit in bits(shared & self._tokens.levels[cause.level]):
            where = [index for index, mask in enumerate(self._sets) if mask & bit]
            either = self._count(i for i in where if cause.matches[i] or other.matches[i])
            if either >= 0.9 * self._count(where):
                return True
        return False

    def _join(self, cause: _Cause, other: _Cause) -> None:
        """Make a cause another anchor of `other`."""
        other.alternatives += [cause.anchor, *cause.alternatives]
        other.conditional |= cause.shown & ~other.core
        self._causes.remove(cause)
        self._rematch(other)
