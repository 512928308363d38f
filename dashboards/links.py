"""Links from panels and alerts to the screens of the web UI, to sections of RUNBOOK.md, and to dashboards. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


@dataclass(frozen=True, slots=True)
class BaseUrls:
    """The URLs under which an installation has its web UI and its Grafana, without a slash at the end."""

    ui: str = "http://127.0.0.1:9903"
    grafana: str = "http://127.0.0.1:3000"


class RunbookSection(StrEnum):
    """The headings of RUNBOOK.md that alerts and panels refer to."""

    ROLL_BACK = "Clients get wrong, slow or no answers: roll back"
    ROLLED_BACK = "Is it rolled back, and what did that cost?"
    WHY = "Why did it roll back by itself?"
    PAUSE = "Stop for tonight without rolling back"
    PROMOTE = "One step ahead"
    DOWN = "What works while something is down"
    MESSAGES = "Pages and messages"
    SKIPPED = "Exchanges are skipped: why, and what to do"
    DRIFTED = "Rows that do not become equal"
    SHARED_JOURNAL = "The shared journal: a broker, several machines"
    MIGRATION = "A migration of the database"
    MISSING_PANELS = "Figures are missing in Grafana"


class DashboardUid(StrEnum):
    """The dashboards by the name in their URL."""

    OVERVIEW = "shadow-overview"
    ROLLOUT = "shadow-rollout"
    COMPARISON = "shadow-comparison"
    PROXY = "shadow-proxy"
    SCORER = "shadow-scorer"


@dataclass(frozen=True, slots=True)
class Link:
    """A link below the web UI: `path` begins with a slash."""

    title: str
    path: str


OVERVIEW: Final = Link("Web UI: overview", "/")
ROLLOUT: Final = Link("Web UI: rollout", "/rollout")
AUDIT: Final = Link("Web UI: audit chain", "/rollout/audit")
CAUSES: Final = Link("Web UI: causes", "/causes")
JOURNAL: Final = Link("Web UI: journal", "/journal")
RULES: Final = Link("Web UI: rules", "/rules")
CONFIGURATION: Final = Link("Web UI: configuration and health", "/configuration")
SCREENS: Final = (OVERVIEW, ROLLOUT, AUDIT, CAUSES, JOURNAL, RULES, CONFIGURATION)


def runbook(section: RunbookSection) -> Link:
    """Return the link to a section of the runbook."""
    return Link(f"RUNBOOK: {section.value}", f"/runbook#{anchor_of(section.value)}")


def anchor_of(title: str) -> str:
    """Return the name of a section in links, as the web UI and Markdown viewers make it: `One step ahead` -> one-step-ahead."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def runbook_url(section: RunbookSection, urls: BaseUrls) -> str:
    """Return the whole URL of a section of the runbook."""
    return urls.ui + runbook(section).path


def dashboard_url(uid: DashboardUid, urls: BaseUrls) -> str:
    """Return the URL of a dashboard for the installation of an alert, as a template of Prometheus."""
    return f"{urls.grafana}/d/{uid.value}?var-installation={{{{ $labels.installation }}}}"
