"""Show RUNBOOK.md, which the package holds a link to, so that a banner can lead to its section on a machine without anything else."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.ui.screens import ScreenRequest

FILE: Final = Path(__file__).with_name("RUNBOOK.md")
HEADING: Final = re.compile(r"^(#{1,3}) (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RunbookPart:
    """One section: its heading, the name that links use, and its text as Markdown."""

    title: str
    name: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class RunbookDocument:
    """The runbook."""

    sections: tuple[RunbookPart, ...]


async def read(_request: ScreenRequest) -> RunbookDocument:
    """Read the runbook."""
    return RunbookDocument(sections_of(FILE.read_text(encoding="utf-8")))


def sections_of(text: str) -> tuple[RunbookPart, ...]:
    """Split Markdown at its headings."""
    headings = list(HEADING.finditer(text))
    ends = [heading.start() for heading in headings[1:]] + [len(text)]
    return tuple(
        RunbookPart(heading[2], name_of_section(heading[2]), len(heading[1]), text[heading.end() : end].strip("\n"))
        for heading, end in zip(headings, ends, strict=True)
    )


def name_of_section(title: str) -> str:
    """Return the name of a section in links, as Markdown viewers make it: `Exchanges are skipped: why` -> exchanges-are-skipped-why."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
