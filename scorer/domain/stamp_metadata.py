"""The public description of stamps (stampMetadata.json), reshaped for responses.

Keeps the fields of the response and makes icon URLs absolute, as observed of the legacy's metadata endpoint and listing of stamps. A
document with an unexpected structure is refused as a whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

METADATA_FILE = "stampMetadata.json"


@dataclass(frozen=True, slots=True)
class StampDescription:
    """One stamp of a group; `name` is the provider."""

    name: str
    description: str
    hash: str


@dataclass(frozen=True, slots=True)
class StampGroup:
    """The stamps of a platform under one heading."""

    name: str
    stamps: Sequence[StampDescription]


@dataclass(frozen=True, slots=True)
class PlatformDescription:
    """One platform; `icon` is an absolute URL."""

    id: str
    icon: str
    name: str
    description: str
    connect_message: str
    groups: Sequence[StampGroup]


@dataclass(frozen=True, slots=True)
class ProviderDescription:
    """A provider with its group and platform."""

    stamp: StampDescription
    group: str
    platform: PlatformDescription


def metadata_url(public_url: str) -> str:
    """Return the file's URL, relative to `public_url`, whose last path segment counts only with a trailing slash."""
    return urljoin(public_url, METADATA_FILE)


def parse_platforms(document: Any, *, public_url: str) -> list[PlatformDescription]:
    """Parse the decoded file.

    Raises:
        ValueError: the document has an unexpected structure.
    """
    try:
        return [_platform(entry, public_url) for entry in document]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


def _platform(entry: Any, public_url: str) -> PlatformDescription:
    return PlatformDescription(
        id=_text(entry["id"]),
        icon=urljoin(public_url, _text(entry["icon"])),
        name=_text(entry["name"]),
        description=_text(entry["description"]),
        connect_message=_text(entry["connectMessage"]),
        groups=[
            StampGroup(
                _text(group["name"]),
                [
                    StampDescription(_text(stamp["name"]), _text(stamp["description"]), _text(stamp["hash"]))
                    for stamp in group["stamps"]
                ],
            )
            for group in entry["groups"]
        ],
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def plain(platforms: Sequence[PlatformDescription]) -> list[dict[str, Any]]:
    """Convert the platforms to JSON values, in the key order of the API; `parse_platforms` reads them back."""
    return [
        {
            "id": platform.id,
            "icon": platform.icon,
            "name": platform.name,
            "description": platform.description,
            "connectMessage": platform.connect_message,
            "groups": [
                {
                    "name": group.name,
                    "stamps": [
                        {"name": stamp.name, "description": stamp.description, "hash": stamp.hash}
                        for stamp in group.stamps
                    ],
                }
                for group in platform.groups
            ],
        }
        for platform in platforms
    ]


def plain_provider(provider: ProviderDescription) -> dict[str, Any]:
    """Convert one provider to JSON values in the shape of the listing of stamps."""
    platform = provider.platform
    return {
        "group": provider.group,
        "platform": {
            "id": platform.id,
            "icon": platform.icon,
            "name": platform.name,
            "description": platform.description,
            "connectMessage": platform.connect_message,
        },
        "name": provider.stamp.name,
        "description": provider.stamp.description,
        "hash": provider.stamp.hash,
    }


def providers(platforms: Sequence[PlatformDescription]) -> Iterator[ProviderDescription]:
    """Iterate over the providers in file order."""
    for platform in platforms:
        for group in platform.groups:
            for stamp in group.stamps:
                yield ProviderDescription(stamp, group.name, platform)


def by_provider(platforms: Sequence[PlatformDescription]) -> dict[str, ProviderDescription]:
    """Index the providers by name; of several entries with one name the last one counts."""
    return {provider.stamp.name: provider for provider in providers(platforms)}
