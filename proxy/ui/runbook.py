"""Show RUNBOOK.md, which the package holds a link to, so that a banner can lead to its section on a machine without anything else."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from proxy.ui.screens import ScreenRequest

FILE: Final = Path(__file__).with_name("RUNBOOK.md")
SCROLLING: Final = {
    "<pre>": '<pre class="code" tabindex="0">',
    "<table>": '<div class="table-scroll" tabindex="0"><table>',
    "</table>": "</table></div>",
}
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


@lru_cache(maxsize=200)
def html_of(text: str) -> str:
    """Return the HTML of a section: tags in the text are shown as text, and links that lead to files of the checkout are only their words."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    for token in tokens:
        if token.children:
            token.children = list(_with_links_that_lead_somewhere(token.children))
    html: str = markdown.renderer.render(tokens, markdown.options, {})
    # Blocks that scroll sideways can be reached by the keyboard.
    for tag, block in SCROLLING.items():
        html = html.replace(tag, block)
    return html


def _with_links_that_lead_somewhere(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the parts of a paragraph without the tags of links to files, which this process does not serve."""
    open_links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            open_links.append(str(token.attrGet("href") or "").startswith(("#", "https://", "http://")))
        leads = open_links[-1] if token.type in {"link_open", "link_close"} else True
        if token.type == "link_close":
            open_links.pop()
        if leads:
            yield token
