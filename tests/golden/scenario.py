"""One recorded scenario: the seed rows, the requests, the legacy's responses and the rows that it changed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
RECORDED_HEADERS = (("Accept", "*/*"), ("Accept-Encoding", "gzip, deflate"), ("Connection", "keep-alive"))
RECORDED_AGENT = ("User-Agent", "python-httpx/0.28.1")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as sent, and the legacy's response."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    response: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that are sent at once (usually one), or a direct change of the database (`patches`).

    `volatile` maps a JSON pointer inside the step to the way it varies: "now", "earlier_now" or anything else for random.
    """

    calls: tuple[Call, ...] = ()
    patches: tuple[dict[str, Any], ...] = ()
    db_changes: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    volatile: dict[str, str] = field(default_factory=dict)
    unordered: tuple[str, ...] = ()
    upstream: tuple[dict[str, Any], ...] = ()
    outcomes: tuple[dict[str, Any], ...] = ()
    jwt: dict[str, Any] | None = None
    started: datetime | None = None

    @property
    def races(self) -> bool:
        """Several calls at once, so that several outcomes are permitted."""
        return len(self.calls) > 1


@dataclass(frozen=True, slots=True)
class Scenario:
    """A complete scenario. `settings` is an environment: lists are JSON text."""

    name: str
    settings: dict[str, str]
    seed: dict[str, list[Row]]
    steps: tuple[Step, ...]

    @property
    def upstream(self) -> tuple[dict[str, Any], ...]:
        """Every call of the legacy to upstream services, over all steps."""
        return tuple(call for step in self.steps for call in step.upstream)


def paths_of(folder: Path, only: str = "") -> list[Path]:
    """Return the scenario files of a folder whose name contains `only`, in order of their names."""
    return [path for path in sorted(folder.glob("*.json")) if only in path.stem]


def load(path: Path, *, authority: tuple[str, str] | None = None) -> Scenario:
    """Read one scenario; `authority` replaces the recorded host:port of the upstream services."""
    text = path.read_text()
    raw = json.loads(text.replace(*authority) if authority else text)
    settings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in raw["settings"].items()}
    seed: dict[str, list[Row]] = {table: list(rows) for table, rows in raw["seed"].items()}
    for rule in raw.get("seed_generate", ()):
        seed.setdefault(rule["table"], []).extend(_generated(rule))
    return Scenario(
        name=raw.get("name", path.stem),
        settings=settings,
        seed=seed,
        steps=tuple(_step(step) for step in raw["steps"]),
    )


def without_volatile(scenario: Scenario) -> Scenario:
    """Return the scenario without volatile values, for tests of the golden runner."""
    return replace(scenario, steps=tuple(replace(step, volatile={}) for step in scenario.steps))


def _generated(rule: dict[str, Any]) -> Iterator[Row]:
    for index in range(rule["start"], rule["start"] + rule["count"]):
        yield {column: _filled(value, index) for column, value in rule["row"].items()}


def _filled(value: Any, index: int) -> Any:
    if value == "$i":
        return index
    if isinstance(value, str):
        return value.replace("{i:040x}", f"{index:040x}").replace("$i", str(index))
    return value


def _step(raw: dict[str, Any]) -> Step:
    if "patch" in raw:
        return Step(patches=tuple(raw["patch"]))
    pairs = raw.get("concurrent") or [raw]
    clock = raw.get("clock")
    return Step(
        calls=tuple(_call(pair["request"], pair["response"]) for pair in pairs),
        db_changes=raw.get("db_changes", {}),
        volatile=raw.get("volatile", {}),
        unordered=tuple(raw.get("unordered", ())),
        upstream=tuple(raw.get("upstream", ())),
        outcomes=tuple(raw.get("observed_outcomes", ())),
        jwt=raw.get("jwt"),
        started=datetime.fromisoformat(clock["start"]) if clock else None,
    )


def _call(request: dict[str, Any], response: dict[str, Any]) -> Call:
    given = dict(request["headers"])
    body = request["body_text"].encode() if "body_text" in request else b""
    if "body" in request:
        body = json.dumps(request["body"]).encode()
    headers = [("Host", given.pop("Host", "testserver")), *RECORDED_HEADERS, RECORDED_AGENT, *given.items()]
    named = {name.lower() for name, _ in headers}
    if "body" in request and "content-type" not in named:
        headers.append(("Content-Type", "application/json"))
    if "body" in request or "body_text" in request:
        headers.append(("Content-Length", str(len(body))))
    return Call(request["method"], request["path"], tuple(headers), body, response)
