"""Write the report of a replay as one self-contained file: the page of the web UI, with its styles inside, without script and network."""

from pathlib import Path
from typing import Any, Final, cast

import jinja2

from proxy.replay.report import ReplayReport
from proxy.ui import charts
from proxy.ui.replay_view import replay_document
from proxy.ui.runbook import name_of_section
from proxy.ui.words import FILTERS

FOLDER: Final = Path(__file__).parent
STYLES: Final = FOLDER / "static" / "ui.css"


def render_file(report: ReplayReport) -> str:
    """Return the whole file as HTML. Reads the templates and the styles."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = cast("dict[str, Any]", environment.filters)  # pyright: ignore[reportUnknownMemberType] (jinja2 does not say of what)
    filters.update({**FILTERS, "section_anchor": name_of_section})
    return environment.get_template("replay_file.html").render(
        page=replay_document("", report),
        charts=charts,
        styles=STYLES.read_text(encoding="utf-8"),
    )
