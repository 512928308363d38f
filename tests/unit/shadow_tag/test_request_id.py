"""The statements that are named, and the contexts of the middlewares."""

import ast
from collections.abc import Iterator

import pytest

from shadow_tag.request_id import WsgiTagging, current_request_id, is_plain_write, rolls_back, writes
from tests.support.paths import ROOT


@pytest.mark.parametrize(
    ("statement", "write", "plain"),
    [
        ("INSERT INTO a VALUES (1)", True, True),
        ("  -- note\n/* trace */ update a set b = 1", True, True),
        ("WITH x AS (DELETE FROM a RETURNING *) SELECT * FROM x", True, True),
        ("SELECT * FROM a FOR UPDATE", True, True),
        ("MERGE INTO a USING b ON true WHEN MATCHED THEN DELETE", True, True),
        ("COPY a FROM STDIN", True, True),
        ("CALL purge()", True, False),
        ("DO $$ BEGIN DELETE FROM a; COMMIT; END $$", True, False),
        ("VACUUM a", False, False),
        ("SELECT updated_at, deleted FROM inserts", False, True),
        ("SAVEPOINT s1", False, False),
    ],
)
def test_statements_that_write(statement: str, write: bool, plain: bool) -> None:
    assert (writes(statement), is_plain_write(statement)) == (write, plain)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [("ROLLBACK TO SAVEPOINT s1", True), ("/* x */ rollback", True), ("SELECT 'ROLLBACK'", False), ("COMMIT", False)],
)
def test_statements_that_roll_back(statement: str, expected: bool) -> None:
    assert rolls_back(statement) is expected


def test_interleaved_responses_of_one_thread_keep_their_ids() -> None:
    seen: list[str] = []

    def application(_environ: object, _start: object) -> Iterator[bytes]:
        for _ in range(2):
            seen.append(current_request_id())
            yield b"."

    tagged = WsgiTagging(application)
    first, second = (iter(tagged({"HTTP_X_REQUEST_ID": name}, print)) for name in ("r-1", "r-2"))
    for _ in range(2):
        next(first)
        next(second)

    assert seen == ["r-1", "r-2", "r-1", "r-2"]
    assert current_request_id() == ""


def test_an_error_of_the_application_ends_the_request() -> None:
    def application(_environ: object, _start: object) -> list[bytes]:
        raise LookupError

    with pytest.raises(LookupError):
        WsgiTagging(application)({"HTTP_X_REQUEST_ID": "r-1"}, print)
    assert current_request_id() == ""


@pytest.mark.parametrize("module", sorted((ROOT / "shadow_tag").glob("*.py")), ids=lambda path: path.stem)
def test_modules_are_in_the_syntax_of_python_3_8(module) -> None:
    ast.parse(module.read_text(encoding="utf-8"), feature_version=(3, 8))
