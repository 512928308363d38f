"""The configuration in force, without its secrets, and the health of every part."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec

from proxy.config.settings import Settings
from proxy.ui.config_patch import default_of, plain_section, yaml_text
from proxy.ui.screens import ScreenRequest

SECRET: Final = re.compile(r"token|secret|password|pagerduty_key|slack_urls|^key$")
"""Names of fields whose values are never shown. (`tls.key` is a path, and is hidden with them.)"""
HIDDEN: Final = "set, hidden"
LINE_CHARS_MAX: Final = 160
"""Lists that are longer than this as JSON are written as YAML, one entry below the other."""


@dataclass(frozen=True, slots=True)
class SettingLine:
    """One field.

    Attributes:
        path: `listen.port`.
        value: as JSON in one line, or as YAML in several.
        is_default: it is as it would be without the line in config.yaml.
        entries: number of entries of a list that is written as YAML; 0 for other values.
    """

    path: str
    value: str
    is_default: bool
    entries: int = 0


@dataclass(frozen=True, slots=True)
class SettingSection:
    """One section of config.yaml: the lines to show, and of all its fields how many there are and how many differ from their defaults."""

    name: str
    lines: tuple[SettingLine, ...]
    total: int
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
        filter: text that the paths of the shown fields contain; "" for none.
    """

    sections: tuple[SettingSection, ...]
    parts: tuple[PartLine, ...]
    needs_restart: Mapping[str, Sequence[str]]
    show: str
    filter: str = ""


async def read(request: ScreenRequest) -> ConfigurationDocument:
    """Read the configuration that this process has loaded, and what each part says of itself."""
    show = "all" if request.query.get("show") == "all" else "changed"
    wanted = request.query.get("filter", "").strip()
    return ConfigurationDocument(
        shown_sections(sections_of(request.settings), show, wanted),
        tuple(_part_lines(request)),
        {
            proxy.name: needs
            for proxy in request.parts.proxies
            if (needs := _config_of(proxy.status).get("needs_restart"))
        },
        show,
        wanted,
    )


def shown_sections(sections: Sequence[SettingSection], show: str, wanted: str) -> tuple[SettingSection, ...]:
    """Return the sections with the fields to show: those that differ from their defaults, or all; of them those whose path contains a text."""
    kept = (
        replace(section, lines=lines)
        for section in sections
        if (
            lines := tuple(
                line
                for line in section.lines
                if (show == "all" or not line.is_default) and wanted.lower() in line.path.lower()
            )
        )
    )
    return tuple(kept)


def sections_of(settings: Settings) -> tuple[SettingSection, ...]:
    """Return every field of every section, secrets hidden."""
    by_section: dict[str, list[SettingLine]] = {}
    for line in lines_of(settings):
        by_section.setdefault(line.path.partition(".")[0], []).append(line)
    return tuple(
        SettingSection(name, tuple(lines), len(lines), sum(not line.is_default for line in lines))
        for name, lines in by_section.items()
    )


def lines_of(settings: msgspec.Struct) -> list[SettingLine]:
    """Return a line for every field of a section and of the sections in it; an entry of a map begins with the defaults of its own fields."""
    return list(_lines("", "", settings, None))


def _lines(path: str, name: str, value: Any, default: Any) -> Iterator[SettingLine]:
    before = f"{path}." if path else ""
    if isinstance(value, msgspec.Struct):
        usual = default if isinstance(default, type(value)) else None
        for field in msgspec.structs.fields(value):
            own_default = getattr(usual, field.name) if usual is not None else default_of(field)
            yield from _lines(f"{before}{field.name}", field.name, getattr(value, field.name), own_default)
    elif isinstance(value, Mapping) and value:
        usual_members = cast("Mapping[str, Any]", default if isinstance(default, Mapping) else {})
        for member, own in cast("Mapping[str, Any]", value).items():
            yield from _lines(f"{before}{member}", member, own, usual_members.get(member, msgspec.NODEFAULT))
    else:
        text, entries = shown_value(name, value)
        yield SettingLine(path, text, value == default, entries)


def shown_value(name: str, value: Any) -> tuple[str, int]:
    """Return a value as JSON, or a long list as YAML with its number of entries; secrets and the passwords in URLs are hidden."""
    if value and SECRET.search(name):
        return HIDDEN, 0
    shown: Any = _without_secrets(plain_section(value))
    text = msgspec.json.encode(shown).decode()
    if isinstance(shown, list) and len(text) > LINE_CHARS_MAX:
        entries = cast("list[Any]", shown)
        return yaml_text(entries).rstrip("\n"), len(entries)
    return text, 0


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return without_password(value) if "://" in value else value
    if isinstance(value, list):
        return [_without_secrets(own) for own in cast("list[object]", value)]
    if isinstance(value, dict):
        # (`key` of a route names the client's key, and is no secret)
        return {
            name: HIDDEN if own and name != "key" and SECRET.search(name) else _without_secrets(own)
            for name, own in cast("dict[str, object]", value).items()
        }
    return value


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
