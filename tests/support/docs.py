"""Writes the generated parts of docs/ from the code: `make docs`, or `python -m tests.support.docs`.

A generated part stands between `<!-- NAME -->` and `<!-- /NAME -->`; everything else in the file is written by hand.
"""

from collections.abc import Callable, Mapping

from tests.support import docs_configuration, docs_reference
from tests.support.paths import ROOT

PARTS: Mapping[tuple[str, str], Callable[[], str]] = {
    ("docs/configuration.md", "configuration"): docs_configuration.configuration,
    ("docs/reference/commands.md", "commands"): docs_reference.commands,
    ("docs/reference/commands.md", "options"): docs_reference.options,
    ("docs/reference/exit-codes.md", "exits"): docs_reference.exits,
    ("docs/reference/endpoints.md", "control"): docs_reference.control_endpoints,
    ("docs/scorer.md", "endpoints"): docs_reference.scorer_endpoints,
    ("docs/scorer.md", "known-differences"): docs_reference.known_differences,
    ("docs/reference/metrics.md", "metrics"): docs_reference.metrics,
    ("docs/getting-started.md", "config"): docs_reference.example_config,
}


def part_of(text: str, name: str) -> str:
    """Return the generated part of a page."""
    return text.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- /{name} -->", maxsplit=1)[0]


def with_part(text: str, name: str, part: str) -> str:
    """Return a page with another generated part."""
    before, rest = text.split(f"<!-- {name} -->\n")
    return f"{before}<!-- {name} -->\n{part}\n<!-- /{name} -->" + rest.split(f"<!-- /{name} -->")[1]


def main() -> None:
    """Write all parts."""
    for (path, name), write in PARTS.items():
        page = ROOT / path
        page.write_text(with_part(page.read_text(), name, write()))


if __name__ == "__main__":
    main()
