"""Synthetic mismatches whose faults are known: what the solver of causes is measured with.

A fault has an anchor, tokens that it always shows and tokens that it shows sometimes; faults share symptoms, overlap in exchanges, hide
what others would show, and a capture adds and loses tokens. Everything follows from the seed.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import msgspec

from comparator.exchanges.difference import Kind
from comparator.findings.cause_solver import Solution
from comparator.findings.tokens import HIDING_ROWS, Level, Token

TABLES = ("stamp", "score", "event", "link", "points")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: its tokens, and the share of its exchanges in which each conditional one shows."""

    name: str
    always: tuple[Token, ...]
    sometimes: Mapping[Token, float]
    flip: tuple[Token, Token] | None = None
    rate: float = 0.05


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """Options of a world."""

    faults: int = 6
    routes: int = 1
    overlap: float = 0.0
    noise: float = 0.0
    drop: float = 0.0
    mismatches: int = 1000


@dataclass(slots=True)
class World:
    """Exchanges: the faults that can be seen in each, and the tokens that were reported."""

    exchanges: list[tuple[frozenset[str], frozenset[Token]]] = field(
        default_factory=list[tuple[frozenset[str], frozenset[Token]]]
    )

    @property
    def counts(self) -> Counter[frozenset[Token]]:
        """The solver's input."""
        return Counter(tokens for _, tokens in self.exchanges if tokens)

    @property
    def faults(self) -> set[str]:
        """The faults that can be seen in any exchange."""
        return {name for names, _ in self.exchanges for name in names}


@dataclass(frozen=True, slots=True)
class Score:
    """Quality of a solution: causes that belong to a fault, exchanges whose causes are exactly their faults, faults without a cause."""

    faults: int = 0
    causes: int = 0
    hidden: int = 0
    right: int = 0
    exchanges: int = 0

    @property
    def per_fault(self) -> float:
        """Causes for each fault."""
        return self.causes / max(1, self.faults)

    @property
    def right_share(self) -> float:
        """Share of exchanges whose causes are exactly their faults."""
        return self.right / max(1, self.exchanges)

    def __add__(self, other: "Score") -> "Score":
        return Score(
            *(getattr(self, n) + getattr(other, n) for n in ("faults", "causes", "hidden", "right", "exchanges"))
        )


def rate(world: World, solution: Solution) -> Score:
    """Compare a solution with the truth. A cause belongs to the fault that it is seen with most where that fault is alone."""
    alone: dict[int, Counter[str]] = {}
    for names, tokens in world.exchanges:
        for cause in solution.assigned.get(tokens, ()):
            seen = alone.setdefault(cause, Counter())
            if len(names) == 1:
                seen[next(iter(names))] += 1000
            for name in names:
                seen[name] += 1
    owner = {cause: max(sorted(seen), key=lambda name, seen=seen: seen[name]) for cause, seen in alone.items() if seen}
    right = sum(
        Counter(owner[cause] for cause in solution.assigned.get(tokens, ()) if cause in owner) == Counter(names)
        for names, tokens in world.exchanges
        if tokens
    )
    faults = world.faults
    return Score(len(faults), len(owner), len(faults - set(owner.values())), right, len(world.exchanges))


def token(level: Level, place: str, kind: Kind, shape: str, *, table: str = "", route: str = "") -> Token:
    """Return a token."""
    return Token(level, table, "", place, kind, shape, route)


def row(table: str, kind: Kind = Kind.MISSING_ROW) -> Token:
    """Return the token of a row."""
    return token(Level.ROW, table, kind, kind, table=table)


def column(table: str, name: str, shape: str = "number / number") -> Token:
    """Return the token of a column."""
    return token(Level.COLUMN, f"{table}.{name}", Kind.COLUMN, shape, table=table)


def reply(name: str, kind: Kind = Kind.CHANGED, shape: str = "text / text") -> Token:
    """Return the token of a place in the response."""
    return token(Level.FIELD, name, kind, shape)


def status(route: str) -> Token:
    """Return the token of a failed response."""
    return token(Level.STATUS, "status", Kind.STATUS, "500 / 200", route=route)


SHARED = (reply("score"), column("score", "score"), reply("passing"), column("event", "data.score"))


def make_faults(seed: int, options: WorldOptions) -> list[Fault]:
    """Return the faults of a world."""
    rnd = random.Random(seed)
    return [_fault(rnd, number, options.routes) for number in range(options.faults)]


def _fault(rnd: random.Random, number: int, routes: int) -> Fault:
    name = f"fault{number}"
    own = f"f{number}"
    sort = rnd.choice(("row", "row", "column", "column", "reply", "status"))
    if sort == "status":
        route = f"route{number % routes}_{number}"
        return Fault(name, (status(route),), {}, rate=_rate(rnd))
    table = f"{rnd.choice(TABLES)}_{number // len(TABLES)}" if sort == "row" else rnd.choice(TABLES)
    always: list[Token] = []
    if sort == "row":
        always.append(row(f"{table}{number}", rnd.choice((Kind.MISSING_ROW, Kind.EXTRA_ROW))))
    count = rnd.randint(1, 12) - len(always)
    for index in range(count):
        in_row = sort != "reply" and rnd.random() < 0.6
        always += [column(table, f"{own}_{index}") if in_row else reply(f"{own}_r{index}")]
    if sort == "column" and not any(t.level is Level.COLUMN for t in always):
        always.append(column(table, f"{own}_c"))
    sometimes: dict[Token, float] = {}
    for index in range(rnd.randint(0, 8)):
        place = f"{own}_s{index}"
        made = column(table, place) if sort != "reply" and rnd.random() < 0.5 else reply(place)
        sometimes[made] = rnd.uniform(0.03, 0.95)
    for shared in SHARED:
        # What shows in the response alone changes no row.
        if rnd.random() < 0.35 and (sort != "reply" or shared.level is Level.FIELD):
            sometimes[shared] = rnd.choice((1.0, rnd.uniform(0.1, 0.95)))
    flip = None
    if rnd.random() < 0.3:
        flip = (reply(f"{own}_flip", shape="false / true"), reply(f"{own}_flip", shape="true / false"))
    return Fault(name, tuple(always), sometimes, flip, _rate(rnd))


def _rate(rnd: random.Random) -> float:
    return 10 ** rnd.uniform(-2.7, -1.0)


def make_world(seed: int, options: WorldOptions, faults: Sequence[Fault] | None = None) -> World:
    """Return a world of exchanges that have at least one fault."""
    rnd = random.Random(seed + 7_919)
    faults = make_faults(seed, options) if faults is None else faults
    world = World()
    weights = [fault.rate for fault in faults]
    noise = [reply(f"noise{index}") for index in range(30)]
    while len(world.exchanges) < options.mismatches:
        on = {rnd.choices(range(len(faults)), weights)[0]}
        while len(faults) > len(on) and rnd.random() < options.overlap:
            on.add(rnd.choices(range(len(faults)), weights)[0])
        world.exchanges.append(_exchange(rnd, [faults[index] for index in sorted(on)], options, noise))
    return world


def _exchange(
    rnd: random.Random, on: Sequence[Fault], options: WorldOptions, noise: Sequence[Token]
) -> tuple[frozenset[str], frozenset[Token]]:
    shown: dict[str, set[Token]] = {}
    for fault in on:
        tokens = set(fault.always)
        tokens |= {t for t, share in fault.sometimes.items() if rnd.random() < share}
        if fault.flip:
            tokens.add(rnd.choice(fault.flip))
        shown[fault.name] = tokens
    everything: set[Token] = set().union(*shown.values())
    failed = {t for t in everything if t.level is Level.STATUS}
    if failed:
        shown = {name: tokens & failed for name, tokens in shown.items()}
    else:
        gone = {t.table for t in everything if t.kind in HIDING_ROWS}
        shown = {
            name: {t for t in tokens if t.level is not Level.COLUMN or t.table not in gone}
            for name, tokens in shown.items()
        }
    visible = {name for name, tokens in shown.items() if tokens}
    reported: set[Token] = set().union(*shown.values())
    if not failed and rnd.random() < options.noise:
        reported.add(rnd.choice(list(noise)))
    if options.drop:
        reported = {t for t in sorted(reported, key=lambda t: t.name) if rnd.random() >= options.drop} or reported
    return frozenset(visible), frozenset(reported)


def cut(world: World, faults: AbstractSet[str]) -> World:
    """Return the exchanges that have these faults only, each at least one of them."""
    return World([exchange for exchange in world.exchanges if exchange[0] and exchange[0] <= faults])


def joined(worlds: Iterable[World]) -> World:
    """Return the exchanges of several worlds as one."""
    return World([exchange for world in worlds for exchange in world.exchanges])


def renamed(fault: Fault, name: str) -> Fault:
    """Return the fault under another name."""
    return replace(fault, name=name)


class _SavedWorld(msgspec.Struct):
    tokens: list[Token]
    exchanges: list[tuple[list[str], list[int], int]]


def load_world(text: bytes) -> World:
    """Return the exchanges that `make bench-causes ARGS="--save FILE"` has written."""
    saved = msgspec.json.decode(text, type=_SavedWorld)
    exchanges = [
        (frozenset(faults), frozenset(saved.tokens[index] for index in shown))
        for faults, shown, count in saved.exchanges
        for _ in range(count)
    ]
    return World(exchanges)
