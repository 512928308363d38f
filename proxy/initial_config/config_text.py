"""Write the proposed config.yaml: as few members as possible, each with why. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from comparator.exchanges.model import Side
from comparator.exchanges.secret_names import Certainty, certainty_of
from comparator.settings import RuleSettings
from comparator.tables import AttributionKey, Volatile
from proxy.initial_config.key_proposal import KeyProposal, propose_key
from proxy.initial_config.names import snake_case
from proxy.initial_config.operations import ApiOperation
from proxy.initial_config.route_proposal import RouteProposal, merged, propose_routes, response_rules
from proxy.initial_config.table_facts import TableFacts
from proxy.initial_config.table_proposal import TableProposal, propose_tables

DSN_VARIABLES: Final = {"live": "SHADOW_LIVE_DSN", "shadow": "SHADOW_SHADOW_DSN", "store": "SHADOW_STORE_DSN"}
_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS_OF_YAML: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_WIDTH: Final = 132


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances of the sides.

    Attributes:
        urls: by side and `live` or `shadow`; a candidate that is only mirrored may lack its live one.
        health: path of the health check by side; "" for none.
        serve: the side that serves clients.
        tagged: sides that name the request in their transactions.
    """

    urls: Mapping[tuple[Side, str], str]
    health: Mapping[Side, str]
    serve: Side
    tagged: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class ConfigProposal:
    """A proposed configuration.

    Attributes:
        key: of the routes.
        routes: in order.
        tables: in order.
        rules: for all responses.
        undecided: what is left to decide.
    """

    key: KeyProposal
    routes: tuple[RouteProposal, ...]
    tables: tuple[TableProposal, ...]
    rules: tuple[RuleSettings, ...]
    undecided: tuple[str, ...]


def propose(
    operations: Sequence[ApiOperation], tables: Sequence[TableFacts], *, tagged: Sequence[Side]
) -> ConfigProposal:
    """Propose everything from the operations of the API and the tables of the live database."""
    known = merged(operations)
    key = propose_key(known, tables)
    sent = frozenset(snake_case(member.rpartition(".")[2]) for one in known if one.writes for member in one.members)
    described = propose_tables(tables, key, sent_names=sent)
    routes = propose_routes(known, tables, key)
    undecided = [
        *(route.undecided for route in routes if route.undecided),
        *(text for table in described for text in table.undecided),
    ]
    untagged = [side for side in Side if side not in tagged]
    if untagged and tables and not key.label:
        undecided.append(
            "key: no key is both in requests and in rows, so rows are attributed by time alone: let the sides name their requests"
        )
    if untagged and tables:
        undecided.append(
            f"runner.tagged_sides: does the {' and the '.join(untagged)} name its requests? Else those of one key that overlap are skipped"
            " (docs/tagging.md)"
        )
    return ConfigProposal(key, routes, described, response_rules(known, described), tuple(undecided))


def config_text(proposal: ConfigProposal, instances: Instances) -> str:
    """Return the text of config.yaml."""
    has_tables = bool(proposal.tables)
    lines = [
        "# Proposed by `shadow init`: each line says why. docs/configuration.md has every field and its default.",
        "",
        *_backends(instances),
        "",
        "databases: # given by the environment, so that no password is in this file",
        *(f"  {name}: ${{{variable}:-}}" for name, variable in DSN_VARIABLES.items() if has_tables or name == "store"),
        *(
            []
            if has_tables
            else ["", "capture: {driver: off} # no live database was given: only responses are compared"]
        ),
        "",
        "serve:",
        f"  side: {instances.serve} # clients notice nothing",
        "",
        "# The first route that matches has the request. A request that none matches is served, and not compared.",
        "routes:",
        *(line for route in proposal.routes for line in _route(route)),
        "",
        "runner:",
        _commented(f"  tagged_sides: {_list(instances.tagged)}", _tagged_reason(instances.tagged)),
        "",
        "compare:",
        *_compare(proposal),
    ]
    return "\n".join(lines) + "\n"


def _backends(instances: Instances) -> Iterator[str]:
    yield "# `host: preserve` (the default) sends the client's Host on, which a side needs that writes absolute URLs into its responses."
    yield "backends:"
    for side in (Side.LEGACY, Side.CANDIDATE):
        yield f"  {side}:"
        for role in ("live", "shadow"):
            url = instances.urls.get((side, role), "")
            path = instances.health.get(side, "") if role == "live" else ""
            check = f", health_check: {{path: {_text(path)}}}" if path else ""
            if url:
                yield f"    {role}: {{url: {_text(url)}{check}}}"


def _tagged_reason(tagged: Sequence[Side]) -> str:
    return "as was said" if tagged else "no side is known to name the request in its transactions; docs/tagging.md"


def _route(route: RouteProposal) -> Iterator[str]:
    members = [f"name: {_text(route.name)}", f"path: {_text(route.path)}"]
    if route.methods:
        members.append(f"methods: {_list(route.methods)}")
    if route.key:
        members.append(f"key: {_text(route.key)}")
    if route.skip:
        members.append("mirror: skip")
    seen = f"{route.seen} request{'s' if route.seen > 1 else ''} seen; " if route.seen else ""
    yield _commented(f"  - {{{', '.join(members)}}}", f"{seen}{'key: ' if route.key else ''}{route.reason}")


def _compare(proposal: ConfigProposal) -> Iterator[str]:
    if proposal.key.label:
        columns = ", ".join(f"{table}.{column}" for table, names in proposal.key.columns.items() for column in names)
        yield _commented(f"  route_kind: {_text(proposal.key.label)}", f"whom requests are about; in rows: {columns}")
    redact = sorted(_secrets(proposal))
    yield _commented(
        f"  redact: {_list(redact)}",
        "besides what is recognised as a secret by itself; digests of them are kept in findings",
    )
    if proposal.rules:
        yield "  rules: # for members of all responses"
        yield from (f"    - {_rule(rule)}" for rule in proposal.rules)
    routes = [route for route in proposal.routes if route.rules]
    if routes:
        yield "  routes:"
        for route in routes:
            yield f"    {_text(route.name)}:"
            yield "      rules:"
            yield from (f"        - {_rule(rule)}" for rule in route.rules)
    if proposal.tables:
        yield "  tables:"
        for table in proposal.tables:
            yield from _table(table)


def _secrets(proposal: ConfigProposal) -> Iterator[str]:
    """Yield the columns whose names are surely those of secrets, as places of findings."""
    for table in proposal.tables:
        for column in table.volatile:
            if certainty_of(column) is Certainty.SURE:
                yield f"{table.name}.{column}"


def _rule(rule: RuleSettings) -> str:
    action = "ignore: true" if rule.ignore else f"time_within_ms: {rule.time_within_ms}"
    return f"{{path: {_text(rule.path)}, {action}, reason: {_text(rule.reason)}}}"


def _table(table: TableProposal) -> Iterator[str]:
    yield from (f"    # {remark}" for remark in (f"{table.name} is {text}" for text in table.remarks))
    if not table.natural_key:
        yield f"    # {table.name}: its rows are compared as a whole; no column was found that says which row it is"
        return
    yield f"    {_text(table.name)}:"
    yield _commented(f"      natural_key: {_list(table.natural_key)}", table.key_reason)
    if table.discriminator:
        yield _commented(
            f"      discriminator: {_list(table.discriminator)}", "few values: findings are told apart by it"
        )
    if table.references:
        pairs = ", ".join(f"{_text(column)}: {_text(target)}" for column, target in table.references.items())
        yield _commented(f"      references: {{{pairs}}}", "foreign keys: compared by the natural key of the row")
    if table.volatile:
        yield "      volatile:"
        for column, (tolerance, reason) in table.volatile.items():
            yield _commented(f"        {_text(column)}: {_tolerance(tolerance)}", reason)
    if table.keys:
        yield "      keys:"
        yield from (_commented(f"        - {_key(key)}", reason) for key, reason in table.keys)


def _tolerance(tolerance: Volatile) -> str:
    return "{ignore: true}" if tolerance.ignore else f"{{within_ms: {tolerance.within_ms}}}"


def _key(key: AttributionKey) -> str:
    place = f"column: {_text(key.column)}" if key.column else f"through: {_text(key.through)}"
    return f"{{kind: {_text(key.kind)}, {place}}}"


def _commented(line: str, reason: str) -> str:
    """Return a line with its comment behind it, or above it where both are too long for one line."""
    if not reason:
        return line
    comment = " ".join(reason.split())
    if len(line) + len(comment) + 3 <= _WIDTH:
        return f"{line} # {comment}"
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}# {comment}\n{line}"


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(_text(str(value)) for value in values)}]"


def _text(value: str) -> str:
    """Return a text as YAML has it in a flow: plain where that is safe, else in double quotes as JSON; `${` is escaped."""
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS_OF_YAML:
        return value
    if re.fullmatch(r"https?://[A-Za-z0-9_.:/-]+", value):
        return value
    return json.dumps(value.replace("${", "$${"), ensure_ascii=False)
