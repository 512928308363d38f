"""The configuration in force, without its secrets, and the health of every part."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec

from proxy.config.settings import Settings
from proxy.ui.screens import ScreenRequest

SECRET: Final = re.compile(r"token|secret|password|pagerduty_key|slack_urls|^key$")
"""Names of fields whose values are never shown. (`tls.key` is a path, and is hidden with them.)"""
HIDDEN: Final = "set, hidden"


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One field: its path, its value as JSON, and whether it differs from its default."""

    path: str
    value: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class SettingSection:
    """One section of config.yaml."""

    name: str
    lines: tuple[SettingLine, ...]
    changed: int


@dataclass(frozen=True, slots=True)
class PartLine:
    """The health of one part."""

    name: str
    address: str
    state: str
    tone: str
    detail: str


@dataclass(frozen=True, slots=True)
class ConfigurationDocument:
    """The configuration and the parts.

    Attributes:
        needs_restart: fields that only a restart takes into use, by proxy.
        show: `changed` or `all`.
    """

    sections: tuple[SettingSection, ...]
    parts: tuple[PartLine, ...]
    needs_restart: Mapping[str, Sequence[str]]
    show: str


async def read(request: ScreenRequest) -> ConfigurationDocument:
    """Read the configuration that this process has loaded, and what each part says of itself."""
    return ConfigurationDocument(
        sections_of(request.settings),
        tuple(_part_lines(request)),
        {
            proxy.name: needs
            for proxy in request.parts.proxies
            if (needs := _config_of(proxy.status).get("needs_restart"))
        },
        "all" if request.query.get("show") == "all" else "changed",
    )


def sections_of(settings: Settings) -> tuple[SettingSection, ...]:
    """Return every field of every section, secrets hidden."""
    values, defaults = lines_of(settings), dict(lines_of(Settings()))
    by_section: dict[str, list[SettingLine]] = {}
    for path, value in values:
        line = SettingLine(path, value, defaults.get(path) == value)
        by_section.setdefault(re.split(r"[.\[]", path)[0], []).append(line)
    return tuple(
        SettingSection(name, tuple(lines), sum(not line.is_default for line in lines))
        for name, lines in by_section.items()
    )


def lines_of(settings: Settings) -> list[tuple[str, str]]:
    """Return the path and the value, as JSON, of every field."""
    lines: list[tuple[str, str]] = []

    def add(path: str, name: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for member, inner in cast("dict[str, Any]", value).items():
                add(f"{path}.{member}" if path else member, member, inner)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for index, inner in enumerate(cast("list[Any]", value)):
                add(f"{path}[{index}]", name, inner)
        else:
            lines.append((path, shown_value(name, cast("object", value))))

    add("", "", msgspec.to_builtins(settings))
    return lines


def shown_value(name: str, value: object) -> str:
    """Return a value as JSON; that of a secret field, and the password in a URL, is hidden."""
    if value and SECRET.search(name):
        return HIDDEN
    if isinstance(value, str) and "://" in value:
        return msgspec.json.encode(without_password(value)).decode()
    return msgspec.json.encode(value).decode()


def without_password(url: str) -> str:
    """Return a URL with `***` in place of its password, and of values of its query that may be one."""
    try:
        parts = urlsplit(url)
        if parts.password:
            host = parts.netloc.rpartition("@")[2]
            parts = parts._replace(netloc=f"{parts.username or ''}:***@{host}")
    except ValueError:
        return HIDDEN
    query = re.sub(r"((?:password|sslpassword|token)=)[^&]*", r"\1***", parts.query)
    return urlunsplit(parts._replace(query=query))


def _config_of(status: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", (status or {}).get("config") or {})


def _part_lines(request: ScreenRequest) -> list[PartLine]:
    parts, settings = request.parts, request.settings
    lines: list[PartLine] = []
    for proxy in parts.proxies:
        config = _config_of(proxy.status)
        state, tone = ("answers", "good") if proxy.status is not None else ("no answer", "bad")
        if config.get("error"):
            state, tone = "config.yaml refused", "few"
        elif config.get("needs_restart"):
            state, tone = "needs a restart", "few"
        detail = str(config.get("error") or proxy.error or f"{proxy.took_s * 1000:.0f} ms")
        lines.append(PartLine(proxy.name, proxy.address, state, tone, detail))
    runner = parts.runner.value
    address = f"{settings.runner.host}:{settings.runner.port}"
    if runner is None:
        lines.append(PartLine("runner", address, "no answer", "bad", parts.runner.error))
    else:
        state, tone = ("compares", "good") if runner.get("ready") else ("not ready", "few")
        detail = (
            f"reads as {runner.get('reader')}, captures by {runner.get('capture')}, lag {runner.get('lag_s', 0):.1f} s"
        )
        lines.append(PartLine("runner", address, state, tone, detail))
    store_address = _database(settings.ui.store or settings.databases.store)
    if parts.store.value is None:
        lines.append(PartLine("store", store_address, "no answer", "bad", parts.store.error))
    else:
        lines.append(PartLine("store", store_address, "answers", "good", f"{parts.store.took_s * 1000:.0f} ms"))
    return lines


def _database(dsn: str) -> str:
    try:
        return urlsplit(without_password(dsn)).netloc + urlsplit(dsn).path if dsn else "not set"
    except ValueError:
        return "not a URL"
