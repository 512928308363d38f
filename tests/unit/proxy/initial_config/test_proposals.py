"""Keys, tables and routes that are proposed for several APIs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from comparator.capture.table_shape import Column, ForeignKey, ReplicaIdentity, TableKind, TableShape
from comparator.exchanges.model import Side
from comparator.tables import AttributionKey, Volatile
from comparator.verdict import Comparator
from proxy.config.loader import load
from proxy.initial_config.config_text import Instances, config_text, propose
from proxy.initial_config.key_proposal import propose_key
from proxy.initial_config.operations import ApiOperation, specific_first
from proxy.initial_config.route_proposal import propose_routes
from proxy.initial_config.table_facts import TableFacts, assignments_of
from proxy.initial_config.table_proposal import TableProposal, propose_tables
from proxy.serving.routing import compile_routes

MINUTE = Volatile(within_ms=60_000)
URLS = {(side, role): "http://127.0.0.1:8001" for side in Side for role in ("live", "shadow")}
TIME = "timestamp with time zone"


def column(name: str, type_: str = "text", *, made: bool = False, null: bool = False) -> Column:
    return Column(name, type_, generated=False, identity="", not_null=not null, value_type=type_, fills_itself=made)


def table(
    name: str,
    *columns: Column,
    key: Sequence[str] = ("id",),
    unique: Sequence[tuple[str, ...]] = (),
    references: Mapping[str, tuple[str, str]] = {},
    **facts: Any,
) -> TableFacts:
    shape = TableShape(
        name=name, schema="public", relation=name, kind=TableKind.TABLE, logged=True, owned=True,
        replica_identity=ReplicaIdentity.FULL, primary_key=tuple(key), columns=columns,
        foreign_keys=tuple(
            ForeignKey(f"{name}_{own}", (own,), target, (referenced,), deferrable=False)
            for own, (target, referenced) in references.items()
        ),
        triggers=(), unique=tuple(unique),
    )  # fmt: skip
    return TableFacts(shape, **facts)


ID = column("id", "bigint", made=True)
CUSTOMERS = table("customers", ID, column("email"), column("created_at", TIME), unique=[("email",)])
ORDERS = table(
    "orders", ID, column("customer_id", "bigint"), column("item"), column("quantity", "integer"),
    references={"customer_id": ("customers", "id")},
)  # fmt: skip
LINES = table("order_lines", ID, column("order_id", "bigint"), column("sku"), references={"order_id": ("orders", "id")})
SHOP = (CUSTOMERS, ORDERS, LINES)
SHOP_API = (
    ApiOperation("GET", "/customers/{id}"),
    ApiOperation("POST", "/customers", members=frozenset({"email"})),
    ApiOperation("GET", "/customers/{customerId}/orders"),
    ApiOperation("POST", "/orders", members=frozenset({"customer_id", "item"})),
    ApiOperation("GET", "/orders/{order}"),
    ApiOperation("GET", "/health"),
)


def only(*tables: TableFacts, sent: frozenset[str] = frozenset()) -> TableProposal:
    (*_, proposal) = propose_tables(tables, propose_key((), tables), sent_names=sent)
    return proposal


def test_the_key_is_what_most_requests_and_rows_carry() -> None:
    key = propose_key(SHOP_API, SHOP)
    assert (key.label, key.columns) == ("customer_id", {"customers": ("id",), "orders": ("customer_id",)})


def test_rows_carry_the_key_by_themselves_or_through_what_they_reference() -> None:
    customers, orders, lines = propose_tables(SHOP, propose_key(SHOP_API, SHOP))
    assert [key for key, _ in customers.keys] == [AttributionKey(kind="customer_id", column="id")]
    assert [key for key, _ in orders.keys] == [AttributionKey(kind="customer_id", column="customer_id")]
    assert [key for key, _ in lines.keys] == [AttributionKey(kind="customer_id", through="order_id")]


def test_routes_have_the_key_wherever_it_is() -> None:
    routes = propose_routes(SHOP_API, SHOP, propose_key(SHOP_API, SHOP))
    assert {(route.path, route.methods): route.key for route in routes} == {
        ("/customers", ("POST",)): "json:email",
        ("/customers/{id}", ("GET",)): "id",
        ("/customers/{customerId}/orders", ("GET",)): "customerId",
        ("/orders", ("POST",)): "json:customer_id",
        ("/orders/{order}", ("GET",)): "order",
        ("/health", ("GET",)): "",
    }
    assert [route.name for route in routes if route.skip] == ["health"]
    assert [route.undecided for route in routes if route.undecided] == [
        "customers: its key is another one than that of the rows: its writes are attributed only if the sides name their requests"
    ]


@pytest.mark.parametrize(
    ("operation", "key"),
    [
        (ApiOperation("POST", "/me", claims=frozenset({"sub"})), "jwt:sub"),
        (ApiOperation("GET", "/me", query=frozenset({"userId"})), "query:userId"),
        (ApiOperation("GET", "/me", headers=frozenset({"x-user-id"})), "header:x-user-id"),
        (ApiOperation("POST", "/me", members=frozenset({"user", "user.id"})), "json:user"),
        (ApiOperation("POST", "/me", members=frozenset({"id", "name"})), ""),
    ],
)
def test_sources_of_a_key(operation: ApiOperation, key: str) -> None:
    tables = (table("users", ID, column("name")),)
    (route,) = propose_routes([operation], tables, propose_key([operation], tables))
    assert route.key == key


def test_write_without_a_key_is_left_to_decide() -> None:
    operations = (ApiOperation("POST", "/reports"), ApiOperation("POST", "/search"))
    first, second = propose_routes(operations, SHOP, propose_key(operations, SHOP))
    assert first.undecided == "reports: POST without a key are skipped (no_key): name their key"
    assert "safe: true" in second.undecided


def test_methods_of_one_path_with_other_keys_are_routes_of_their_own() -> None:
    operations = (
        ApiOperation("GET", "/me", claims=frozenset({"sub"})),
        ApiOperation("POST", "/me", members=frozenset({"user_id"})),
    )
    tables = (table("users", ID, column("name")),)
    routes = propose_routes(operations, tables, propose_key(operations, tables))
    assert [(route.name, route.methods, route.key) for route in routes] == [
        ("me", ("GET",), "jwt:sub"),
        ("me_post", ("POST",), "json:user_id"),
    ]


def test_without_operations_one_route_has_every_request() -> None:
    (route,) = propose_routes((), SHOP, propose_key((), SHOP))
    assert (route.path, route.methods, route.key) == ("/{rest:path}", (), "")
    assert "name the routes" in route.undecided


def test_specific_templates_come_first() -> None:
    assert specific_first(["/a/{id}", "/a/me", "/{x}/me", "/a"]) == ["/a", "/a/me", "/a/{id}", "/{x}/me"]


@pytest.mark.parametrize(
    ("facts", "key", "guessed"),
    [
        (table("a", column("code"), column("v"), key=["code"]), ("code",), False),
        (table("a", ID, column("email"), unique=[("email",)]), ("email",), False),
        (table("a", ID, column("at", TIME), column("email"), unique=[("at",), ("email",)], defaults={"at": "now()"}), ("email",), False),
        (table("a", ID, column("customer"), column("status"), column("note", null=True), column("total", "numeric")), ("customer",), True),
        (table("a", ID, column("data", "jsonb")), (), False),
        (table("a", column("id", "uuid"), column("name")), ("name",), True),
        (table("a", column("x"), column("y"), key=[]), ("x", "y"), True),
        (table("a", ID, column("kind"), defaults={"kind": "'x'::text"}), (), False),
    ],
)  # fmt: skip
def test_natural_keys(facts: TableFacts, key: tuple[str, ...], guessed: bool) -> None:
    proposal = only(facts)
    assert proposal.natural_key == key
    assert bool([text for text in proposal.undecided if "guess" in text]) is guessed
    assert bool([text for text in proposal.undecided if "as a whole" in text]) is not bool(key)


def test_uuid_that_clients_send_is_the_natural_key() -> None:
    proposal = only(table("a", column("id", "uuid"), column("name")), sent=frozenset({"id"}))
    assert (proposal.natural_key, proposal.volatile) == (("id",), {})


@pytest.mark.parametrize(
    ("columns", "facts", "expected"),
    [
        ([column("made", TIME)], {"defaults": {"made": "now()"}}, {"made": MINUTE}),
        ([column("made", TIME)], {"defaults": {"made": "CURRENT_TIMESTAMP"}}, {"made": MINUTE}),
        ([column("day", "date")], {"defaults": {"day": "CURRENT_DATE"}}, {"day": Volatile(within_ms=86_400_000)}),
        ([column("secs", "bigint")], {"defaults": {"secs": "extract(epoch from now())"}}, {"secs": Volatile(ignore=True)}),
        ([column("code")], {"defaults": {"code": "md5((random())::text)"}}, {"code": Volatile(ignore=True)}),
        ([column("touched", TIME)], {"assigned": {"touched": "clock_timestamp()"}}, {"touched": MINUTE}),
        ([column("version", "integer")], {"assigned": {"version": "NEW.version + 1"}}, {}),
        ([column("updated_at", TIME)], {}, {"updated_at": MINUTE}),
        ([column("paidAt", "timestamp without time zone")], {}, {"paidAt": MINUTE}),
        ([column("expires_at", TIME)], {}, {}),
        ([column("starts_on", "date")], {}, {}),
        ([column("updated_at", "text")], {}, {}),
        ([column("token", "uuid", made=True)], {"defaults": {"token": "gen_random_uuid()"}}, {}),
        ([column("password_hash")], {}, {"password_hash": Volatile(ignore=True)}),
    ],
)  # fmt: skip
def test_volatile_columns(columns: list[Column], facts: dict[str, Any], expected: dict[str, Volatile]) -> None:
    proposal = only(table("a", column("k"), *columns, key=["k"], **facts))
    assert {name: tolerance for name, (tolerance, _) in proposal.volatile.items()} == expected
    assert all(reason for _, reason in proposal.volatile.values())


def test_time_that_clients_send_is_compared() -> None:
    assert only(table("a", column("k"), column("seen_at", TIME), key=["k"]), sent=frozenset({"seen_at"})).volatile == {}


@pytest.mark.parametrize(
    ("name", "counts", "grows"),
    [
        ("ledger", (1000, 0, 0), True),
        ("ledger", (999, 0, 0), False),
        ("ledger", (1000, 1, 0), False),
        ("ledger", (1000, 0, 1), False),
        ("audit_log", (5, 0, 0), True),
        ("audit_log", (0, 0, 0), True),
        ("audit_log", (5, 1, 0), False),
        ("catalogue", (0, 0, 0), False),
    ],
)
def test_tables_that_only_grow(name: str, counts: tuple[int, int, int], grows: bool) -> None:
    facts = dict(zip(("inserts", "updates", "deletes"), counts, strict=True))
    proposal = only(table(name, ID, column("action"), column("who"), **facts))
    assert bool(proposal.remarks) is grows
    assert proposal.discriminator == (("action",) if grows else ())


def test_assignments_of_trigger_functions() -> None:
    source = 'BEGIN NEW.touched_at := clock_timestamp(); new."Version" = NEW.version + 1;\n IF OLD.a = NEW.b THEN NULL; END IF; RETURN NEW; END'
    assert assignments_of(source) == {"touched_at": "clock_timestamp()", "Version": "NEW.version + 1"}


@pytest.mark.parametrize("operations", [(), SHOP_API], ids=["no operations", "the shop's"])
@pytest.mark.parametrize("tables", [(), SHOP], ids=["no tables", "the shop's"])
@pytest.mark.parametrize("tagged", [(), tuple(Side)], ids=["untagged", "tagged"])
def test_every_proposal_is_a_valid_configuration(
    operations: Sequence[ApiOperation], tables: Sequence[TableFacts], tagged: tuple[Side, ...]
) -> None:
    proposal = propose(operations, tables, tagged=tagged)
    instances = Instances(URLS, dict.fromkeys(Side, "/health"), Side.LEGACY, tagged)
    settings = load(config_text(proposal, instances), {})
    compile_routes(settings.routes)
    Comparator(settings.compare)
    assert settings.runner.tagged_sides == tagged
    assert settings.serve.side is Side.LEGACY
    assert set(settings.compare.tables) == {one.name for one in tables}
    assert settings.backends.legacy.live.health_check.path == "/health"


def test_names_that_yaml_would_take_for_something_else_are_quoted() -> None:
    odd = table('"on"', column("no"), column('a"b'), column("${HOME}"), key=["no", 'a"b', "${HOME}"])
    api = (ApiOperation("GET", "/yes/{on}/%7B#x: y"),)
    settings = load(config_text(propose(api, (odd,), tagged=()), Instances(URLS, {}, Side.LEGACY, ())), {})
    assert settings.compare.tables["on"].natural_key == ("no", 'a"b', "${HOME}")
    assert settings.routes[0].path == "/yes/{on}/%7B#x: y"


def test_every_line_of_a_table_and_route_says_why() -> None:
    text = config_text(propose(SHOP_API, SHOP, tagged=()), Instances(URLS, {}, Side.LEGACY, ()))
    lines = text[text.index("routes:") :].splitlines()
    unexplained = [
        line
        for before, line in pairwise(lines)
        if line.startswith(("  - ", "      natural_key", "        - {kind", "      references", "  route_kind"))
        and "#" not in line
        and not before.lstrip().startswith("#")
    ]
    assert unexplained == []
