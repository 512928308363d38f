"""Equality of column values, held against PostgreSQL's own `=` operator as the oracle."""

import asyncpg
import pytest

from comparator.effects.value_equality import equality_of

SAMPLES: dict[str, tuple[str, ...]] = {
    "smallint": ("0", "1", "-1"),
    "bigint": ("0", "5", "-9223372036854775808"),
    "numeric": ("1.1", "1.10", "1", "0", "-0", "1e3", "1000", "NaN", "Infinity", "-Infinity", "0.00000000000000000001"),
    "numeric(6,2)": ("1.1", "1.10", "-0", "0"),
    "real": ("0", "-0", "1.5", "1e20", "NaN", "Infinity"),
    "double precision": ("0", "-0", "0.1", "0.30000000000000004", "1e300", "NaN", "-Infinity"),
    "boolean": ("t", "f"),
    "text": (
        "1.10",
        "1.1",
        "5",
        "5.0",
        "0",
        "-0",
        '{"a": 1}',
        '{"a":1}',
        "",
        " ",
        "2020-01-01 00:00:00+00",
        "2020-01-01T00:00:00Z",
    ),
    "character varying(30)": ("a", "a ", "A"),
    "character(4)": ("a", "ab"),
    "bytea": (r"\x00", r"\x", r"\x00ff"),
    "uuid": ("00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-00000000000a"),
    "date": ("2020-01-01", "infinity", "0044-03-15 BC"),
    "time without time zone": ("00:00:00", "24:00:00", "12:00:00.5"),
    "timestamp without time zone": ("2020-01-01 00:00:00", "infinity", "2020-01-01 00:00:00.000001"),
    "timestamp with time zone": ("2020-01-01 00:00:00+00", "2020-01-01 01:00:00+01", "infinity", "-infinity"),
    "interval": ("1 day", "24 hours", "1 mon", "30 days"),
    "integer[]": ("{1,2}", "{1,NULL}", "{}", "[0:1]={1,2}", "{{1,2},{3,4}}"),
    "numeric[]": ("{1.0,2}", "{1,2.0}", "{1,2,NULL}", "{{1.0}}", "{{1}}", "[0:1]={1.0,2}", "[0:1]={1,2}"),
    "text[]": ("{1.0,2}", "{1,2.0}", '{"a,b"}', "{a,b}", '{"NULL"}', "{NULL}", r'{"\"","\\"}'),
    "double precision[]": ("{0}", "{-0}", "{1e300,NaN}"),
    "int4range": ("[1,5)", "empty", "(,)", "[1,)"),
    "numrange": ("[1.0,2)", "[1,2)"),
    "jsonb": ('{"a": 1}', '{"a": 1.0}', '{"b": 1, "a": 2}'),
    "inet": ("10.0.0.1", "10.0.0.1/32", "::1"),
    "point[]": ('{"(1,2)"}',),
    "money": ("1", "1.00"),
    "bit varying": ("101", "1010"),
}
STRICTER = frozenset({"interval", "numrange", "jsonb"})
"""Types of which this project calls more values different than PostgreSQL does; the module says why."""


@pytest.mark.parametrize("type_name", SAMPLES)
async def test_value_equality_agrees_with_postgresql(database: str, type_name: str) -> None:
    conn = await asyncpg.connect(database)
    await conn.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'; SET extra_float_digits = 3")
    same = equality_of(type_name)
    try:
        for left in SAMPLES[type_name]:
            for right in SAMPLES[type_name]:
                a, b, equal = await conn.fetchrow(  # pyright: ignore[reportGeneralTypeIssues]
                    f"SELECT a::{type_name}::text, b::{type_name}::text, {equality(type_name)} FROM (VALUES ($1::text, $2::text)) v(a, b)",
                    left,
                    right,
                )
                ours = a == b or same(a, b)
                assert not ours or equal, f"{a} and {b} are different in PostgreSQL"
                assert ours or not equal or type_name in STRICTER, f"{a} and {b} are equal in PostgreSQL"
    finally:
        await conn.close()


def equality(type_name: str) -> str:
    if type_name == "point[]":  # (a point has no operator `=`)
        return "a = b"
    return f"a::{type_name} = b::{type_name}"
