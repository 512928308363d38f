"""Propose routes with methods and keys, and the rules that their responses need. Pure."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.settings import RuleSettings
from proxy.initial_config.key_proposal import (
    KeyProposal,
    KeySourceProposal,
    column_labels,
    sources_of,
    telling_labels,
)
from proxy.initial_config.names import entity_of, snake_case
from proxy.initial_config.operations import PARAMETER, ApiOperation, segments_of, specific_first
from proxy.initial_config.table_facts import TableFacts
from proxy.initial_config.table_proposal import CLOCK_WITHIN_MS, TableProposal

_HEALTH: Final = re.compile(
    r"/(health|healthz|health-?check|ready|readyz|livez?|ping|status|metrics|_health|up)/?", re.IGNORECASE
)
_SEARCH: Final = re.compile(r"(^|_)(search|query|validate|check|verify|preview|graphql|estimate|quote)(_|$)")


@dataclass(frozen=True, slots=True)
class RouteProposal:
    """A proposed route, with why.

    Attributes:
        name: unique.
        path: template.
        methods: in the order of the alphabet; empty for any.
        key: as `routes[].key` has it, "" for none.
        reason: why this key.
        skip: not mirrored: a health check.
        rules: for its responses.
        seen: requests of the recordings.
        undecided: what only a person who knows the API can decide, "" for nothing.
    """

    name: str
    path: str
    methods: tuple[str, ...]
    key: str
    reason: str
    skip: bool = False
    rules: tuple[RuleSettings, ...] = ()
    seen: int = 0
    undecided: str = ""


def is_health_path(path: str) -> bool:
    """Tell whether a path is one that only monitors ask for."""
    return _HEALTH.fullmatch(path) is not None


def propose_routes(
    operations: Sequence[ApiOperation], tables: Sequence[TableFacts], key: KeyProposal
) -> tuple[RouteProposal, ...]:
    """Return the routes in the order of config.yaml. Without any operation it is one that has every request."""
    if not operations:
        return (_catch_all(),)
    by_template: dict[str, list[ApiOperation]] = defaultdict(list)
    for operation in merged(operations):
        by_template[operation.template].append(operation)
    labels, telling = column_labels(tables), telling_labels(tables)
    names: set[str] = set()
    routes: list[RouteProposal] = []
    for template in specific_first(by_template):
        chosen: dict[str, list[tuple[ApiOperation, str]]] = defaultdict(list)
        for operation in by_template[template]:
            source, reason = _key_of(operation, list(sources_of(operation, labels, telling)), key)
            chosen[source].append((operation, reason))
        for source, members in chosen.items():
            routes.append(_route(template, source, members, tables, names))
    return tuple(routes)


def merged(operations: Sequence[ApiOperation]) -> list[ApiOperation]:
    """Return the operations, those of one method and template as one."""
    by_place: dict[tuple[str, str], ApiOperation] = {}
    for one in operations:
        before = by_place.get((one.method, one.template))
        by_place[one.method, one.template] = (
            one
            if before is None
            else ApiOperation(
                one.method,
                one.template,
                before.seen + one.seen,
                before.query | one.query,
                before.headers | one.headers,
                before.members | one.members,
                before.claims | one.claims,
                before.response_members | one.response_members,
            )
        )
    return [by_place[place] for place in sorted(by_place)]


def _catch_all() -> RouteProposal:
    return RouteProposal(
        "all",
        "/{rest:path}",
        (),
        "",
        "no document and no recording was given",
        undecided="all: name the routes of the API and their keys; until then only reads are compared, by their responses",
    )


def _key_of(operation: ApiOperation, sources: Sequence[KeySourceProposal], key: KeyProposal) -> tuple[str, str]:
    """Return the key of an operation, and why; "" for none."""
    if is_health_path(operation.template):
        return "", "a health check"
    for source in sources:
        if source.label == key.label:
            return (
                source.key,
                f"the {key.label}, which {_count(key.operations)} and rows of {_count(len(key.columns), 'table')} carry",
            )
    path = operation.parameters
    others = [source for source in sources if ":" not in source.key] or sources
    if others:
        return others[0].key, _other_reason(others[0], key)
    if path:
        return path[0], f"the first parameter; no column was found that holds it{_not_main(key)}"
    return "", "no part of its requests was recognised as a key"


def _other_reason(source: KeySourceProposal, key: KeyProposal) -> str:
    return f"the {source.label}, a column of the same name exists{_not_main(key)}"


def _not_main(key: KeyProposal) -> str:
    return f"; not the {key.label} of the other routes" if key.label else ""


def _count(number: int, noun: str = "operation") -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _route(
    template: str, key: str, members: Sequence[tuple[ApiOperation, str]], tables: Sequence[TableFacts], names: set[str]
) -> RouteProposal:
    methods = tuple(sorted({operation.method for operation, _ in members}))
    name = _name(template, methods, names)
    writes = [operation for operation, _ in members if operation.writes]
    health = is_health_path(template)
    undecided = ""
    if writes and not key and not health:
        hint = ", or `safe: true` if they change nothing" if _SEARCH.search(snake_case(template)) else ""
        undecided = (
            f"{name}: {'/'.join(one.method for one in writes)} without a key are skipped (no_key): name their key{hint}"
        )
    elif key and "; not the" in members[0][1] and writes:
        undecided = f"{name}: its key is another one than that of the rows: its writes are attributed only if the sides name their requests"
    return RouteProposal(
        name=name,
        path=template,
        methods=methods,
        key=key,
        reason=members[0][1],
        skip=health,
        rules=() if health else tuple(_created_ids(template, writes, tables)),
        seen=sum(operation.seen for operation, _ in members),
        undecided=undecided,
    )


def _name(template: str, methods: Sequence[str], names: set[str]) -> str:
    """Return a name after the literal segments of a path, unique among `names`, which it is added to."""
    literals = [part for part in segments_of(template) if part and not PARAMETER.search(part)]
    words = [snake_case(part) for part in literals if not re.fullmatch(r"api|v\d+|rest", part)] or ["root"]
    name = "_".join(word for word in words if word) or "root"
    if PARAMETER.search(segments_of(template)[-1]):
        name = f"{name}_one" if name in names else name
    candidates = [name, f"{name}_{'_'.join(methods).lower()}", *(f"{name}_{number}" for number in range(2, 1000))]
    chosen = next(one for one in candidates if one not in names)
    names.add(chosen)
    return chosen


def _created_ids(template: str, writes: Sequence[ApiOperation], tables: Sequence[TableFacts]) -> Iterator[RuleSettings]:
    """Yield a rule for the id in the response to a POST that creates a row whose key the database makes."""
    resource = next((part for part in reversed(segments_of(template)) if part and not PARAMETER.search(part)), "")
    for table in tables:
        surrogate = table.surrogate
        if surrogate is None or entity_of(table.name) != entity_of(resource):
            continue
        for operation in writes:
            if operation.method == "POST" and segments_of(template)[-1] in (resource, ""):
                reason = f"each database makes {table.name}.{surrogate.name} for new rows itself"
                yield RuleSettings(path=surrogate.name, ignore=True, reason=reason)


def response_rules(operations: Sequence[ApiOperation], proposals: Sequence[TableProposal]) -> tuple[RuleSettings, ...]:
    """Return rules for members of all responses that are named like columns of a side's own clock.

    Only members that a document or a recording shows are named; without any, those of every such column.
    """
    shown = {member for operation in operations for member in operation.response_members}
    clocks = {
        snake_case(column): (proposal.name, column)
        for proposal in proposals
        for column, (tolerance, _) in proposal.volatile.items()
        if tolerance.within_ms is not None
    }
    members = sorted(shown) if shown else sorted(column for _, column in clocks.values())
    return tuple(
        RuleSettings(
            path=f"**.{member}" if re.fullmatch(r"\w+", member) else f'**["{member}"]',
            time_within_ms=CLOCK_WITHIN_MS,
            reason="as {}.{}".format(*clocks[snake_case(member)]),
        )
        for member in dict.fromkeys(members)
        if snake_case(member) in clocks
    )
