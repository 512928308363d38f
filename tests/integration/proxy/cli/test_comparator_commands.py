"""The comparator's subcommands, as `shadow` calls them."""

import argparse
import asyncio
import json
import random
from pathlib import Path

import pytest

from comparator.exchanges.difference import Difference, Kind
from comparator.exchanges.json_values import ABSENT
from comparator.settings import StoreSettings
from comparator.store.causes import refresh_causes
from comparator.store.store import Store
from proxy.cli import causes as causes_command
from proxy.cli import compare as compare_command
from proxy.cli import findings as findings_command
from proxy.cli import rules as rules_command
from proxy.cli.main import main
from proxy.config.journal import JournalSettings
from proxy.journal.registry import open_writer
from tests.support.comparisons import NOW, exchange, exchange_with, mismatch

RULES = "compare:\n  rules:\n    - {path: last_score_timestamp, time_within_ms: 60000}\n"
HIDING = RULES + "    - {path: score, ignore: true, reason: trial}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
async def stored(database: str) -> str:
    async with Store(database, StoreSettings(timeout_s=10), random.Random(7)) as store:
        await store.maintain(NOW)
        await store.add([mismatch("a"), mismatch("b", key=2)])
    return database


async def call(command, *words: str) -> int:
    """Run a subcommand in a thread: it has an event loop of its own."""
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return await asyncio.to_thread(command.run, parser.parse_args(words))


async def listed(stored: str, config: Path, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    await call(findings_command, "list", "--json", "--store-dsn", stored, "--config", str(config))
    return json.loads(capsys.readouterr().out)


async def exported(stored: str, config: Path, capsys: pytest.CaptureFixture[str], to: Path) -> None:
    (finding,) = await listed(stored, config, capsys)
    options = ("--store-dsn", stored, "--config", str(config), "--to", str(to))
    assert await call(findings_command, "export", finding["id"], *options) == 0


async def test_list_shows_findings_as_text(stored: str, config: Path, capsys) -> None:
    assert await call(findings_command, "list", "--store-dsn", stored, "--config", str(config)) == 0
    assert "score  other value (numeric text)" in capsys.readouterr().out


async def test_ack_stores_name_and_reason(stored: str, config: Path, capsys) -> None:
    (finding,) = await listed(stored, config, capsys)
    options = ("--by", "ann", "--reason", "expected", "--store-dsn", stored, "--config", str(config))
    await call(findings_command, "ack", finding["id"], *options)
    (after,) = await listed(stored, config, capsys)
    assert (after["state"], after["state_by"], after["state_reason"]) == ("acknowledged", "ann", "expected")


async def test_show_names_the_examples(stored: str, config: Path, capsys) -> None:
    (finding,) = await listed(stored, config, capsys)
    await call(findings_command, "show", finding["id"], "--store-dsn", stored, "--config", str(config))
    assert "example a: GET /v2/stamps/1/score/0xabc" in capsys.readouterr().out


async def test_unknown_finding_ends_with_two(stored: str, config: Path, capsys) -> None:
    words = ["findings", "show", "nope", "--store-dsn", stored, "--config", str(config)]
    assert await asyncio.to_thread(main, words) == 2
    assert "no finding 'nope'" in capsys.readouterr().err


@pytest.fixture
async def solved(stored: str) -> str:
    """Provide a store with two causes, of which one is provisional."""
    lost = Difference(Kind.MISSING_ROW, (), {"provider": "Ens"}, ABSENT, "stamp", ("1", "Ens"))
    weight = Difference(Kind.CHANGED, ("weight",), "2.5", "1.0")
    async with Store(stored, StoreSettings(timeout_s=10), random.Random(7)) as store:
        await store.add([exchange_with(f"lost{key}", lost, weight, key=key) for key in range(5)])
        async with store.connection() as conn:
            await refresh_causes(conn, now=NOW, force=True)
    return stored


async def causes_of(solved: str, config: Path, capsys: pytest.CaptureFixture[str]) -> list[dict]:
    capsys.readouterr()
    await call(causes_command, "list", "--json", "--store-dsn", solved, "--config", str(config))
    return json.loads(capsys.readouterr().out)["causes"]


async def test_causes_are_listed_with_their_most_telling_place(solved: str, config: Path, capsys) -> None:
    assert await call(causes_command, "list", "--store-dsn", solved, "--config", str(config)) == 0
    output = capsys.readouterr().out
    assert "stamp: row only on candidate" in output
    assert "2 causes of 7 mismatching exchanges" in output


async def test_cause_is_shown_with_findings_and_example(solved: str, config: Path, capsys) -> None:
    (cause, _) = await causes_of(solved, config, capsys)
    await call(causes_command, "show", cause["id"], "--store-dsn", solved, "--config", str(config))
    output = capsys.readouterr().out
    assert "100.0%  weight: other value (numeric text)" in output
    assert "example lost" in output


async def test_acknowledged_cause_acknowledges_its_findings(solved: str, config: Path, capsys) -> None:
    options = ("--by", "ann", "--reason", "expected", "--store-dsn", solved, "--config", str(config))
    for cause in await causes_of(solved, config, capsys):
        await call(causes_command, "ack", cause["id"], *options)
    assert {finding["state"] for finding in await listed(solved, config, capsys)} == {"acknowledged"}


async def test_fixed_cause_names_the_release(solved: str, config: Path, capsys) -> None:
    (cause, _) = await causes_of(solved, config, capsys)
    options = ("--reason", "done", "--in", "1.2 / 8", "--store-dsn", solved, "--config", str(config))
    await call(causes_command, "fix", cause["id"], *options)
    (after, _) = sorted(await causes_of(solved, config, capsys), key=lambda one: one["state"])
    assert (after["state"], after["fixed_in"]) == ("fixed", "1.2 / 8")


async def test_clearest_example_of_a_cause_is_exported_as_a_case(solved: str, config: Path, capsys, tmp_path) -> None:
    (cause, _) = await causes_of(solved, config, capsys)
    options = ("--to", str(tmp_path / "case.json"), "--store-dsn", solved, "--config", str(config))
    assert await call(causes_command, "export", cause["id"], *options) == 0
    assert json.loads((tmp_path / "case.json").read_text())["exchange"].startswith("lost")


async def test_new_cause_of_a_day_ends_with_one(solved: str, config: Path, capsys) -> None:
    words = ("diff", "2026-03-03", "2026-03-04", "--store-dsn", solved, "--config", str(config))
    assert await call(causes_command, *words) == 1
    assert "new             0            5  stamp: row only on candidate" in capsys.readouterr().out


async def test_unknown_cause_ends_with_two(solved: str, config: Path, capsys) -> None:
    words = ["causes", "show", "nope", "--store-dsn", solved, "--config", str(config)]
    assert await asyncio.to_thread(main, words) == 2
    assert "no cause 'nope'" in capsys.readouterr().err


async def test_exported_case_compares_to_the_same_mismatch(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    await exported(stored, config, capsys, tmp_path / "case.json")
    assert await call(compare_command, str(tmp_path / "case.json"), "--config", str(config)) == 1
    assert "score" in capsys.readouterr().out


async def test_exported_case_has_no_api_key(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    await exported(stored, config, capsys, tmp_path / "case.json")
    assert "secret" not in (tmp_path / "case.json").read_text()


async def test_case_matches_under_rules_that_hide_it(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    await exported(stored, config, capsys, tmp_path / "case.json")
    (tmp_path / "hiding.yaml").write_text(HIDING)
    options = ("--config", str(config), "--rules", str(tmp_path / "hiding.yaml"), "--explain")
    assert await call(compare_command, str(tmp_path / "case.json"), *options) == 0
    assert "compare.rules[1]" in capsys.readouterr().out


async def test_damaged_case_ends_with_two(config: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "case.json").write_text("{}")
    assert await asyncio.to_thread(main, ["compare", str(tmp_path / "case.json"), "--config", str(config)]) == 2
    assert "not a case" in capsys.readouterr().err


async def test_explain_shows_the_rules_of_a_stored_comparison(stored: str, config: Path, capsys) -> None:
    options = ("--days", "100000", "--store-dsn", stored, "--config", str(config))
    assert await call(rules_command, "explain", "a", *options) == 0
    assert "compare.rules[0]  (1 place)\n  last_score_timestamp" in capsys.readouterr().out


async def test_trial_shows_what_rules_would_hide(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "hiding.yaml").write_text(HIDING)
    options = ("--against", "stored", "--store-dsn", stored, "--config", str(config))
    assert await call(rules_command, "test", str(tmp_path / "hiding.yaml"), *options) == 0
    assert "would be hidden: 2" in capsys.readouterr().out


async def test_trial_fails_on_what_rules_would_reveal(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "bare.yaml").write_text("compare: {rules: []}\n")
    options = ("--against", "stored", "--store-dsn", stored, "--config", str(config))
    assert await call(rules_command, "test", str(tmp_path / "bare.yaml"), *options) == 1
    assert "last_score_timestamp" in capsys.readouterr().out


async def test_wrong_rules_file_is_named_with_its_place(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("compare: {rules: [{path: a, ignor: true}]}\n")
    options = ["--against", "stored", "--store-dsn", stored, "--config", str(config)]
    assert await asyncio.to_thread(main, ["rules", "test", str(tmp_path / "wrong.yaml"), *options]) == 2
    assert "wrong.yaml: compare.rules[0] (a): unknown field `ignor` (did you mean `ignore`?)" in capsys.readouterr().err


async def test_trial_on_a_journal_uses_its_stored_comparisons(
    stored: str, config: Path, capsys, tmp_path: Path
) -> None:
    writer = open_writer(JournalSettings(directory=str(tmp_path / "journal")), {})
    writer.start()
    for name in ("a", "b", "c"):
        writer.append(exchange(name))
    writer.close()
    (tmp_path / "hiding.yaml").write_text(HIDING)
    words = ("test", str(tmp_path / "hiding.yaml"), "--against", str(tmp_path / "journal"))
    assert await call(rules_command, *words, "--store-dsn", stored, "--config", str(config)) == 0
    printed = capsys.readouterr().out
    assert "3 exchanges in the journal: 1 without a stored comparison" in printed
    assert "2 compared again from stored examples" in printed
    assert "would be hidden: 2" in printed


async def test_trial_on_a_journal_names_what_it_cannot_open(stored: str, config: Path, capsys, tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    writer = open_writer(JournalSettings(directory=str(directory)), {})
    writer.start()
    writer.append(exchange("a"))
    writer.close()
    (directory / "key").unlink()
    (tmp_path / "hiding.yaml").write_text(HIDING)
    words = ("test", str(tmp_path / "hiding.yaml"), "--against", str(directory))
    assert await call(rules_command, *words, "--store-dsn", stored, "--config", str(config)) == 1
    assert "sealed with journal key" in capsys.readouterr().err
