"""Takes the screenshots of docs/ui: an installation of two proxies with faults, a rollout at 25 %, a minute of traffic."""

import argparse
import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote
from urllib.request import urlopen

from playwright.async_api import expect

from proxy.config.loader import read_settings
from proxy.demo.embedded_postgres import EmbeddedPostgres
from proxy.demo.installation import DemoOptions, Installation, installed
from proxy.demo.traffic import TrafficGenerator
from proxy.ui.app import running
from tests.support.browser import chromium, tab
from tests.support.paths import ROOT
from tests.support.promotion import promote_by_force

FOLDER = ROOT / "docs" / "ui"
SECTIONS: dict[str, Any] = {
    "listen": {"workers": 2},
    "rollout": {
        "enabled": True,
        "steps": [0, 5, 25, 50, 75, 100],
        "evaluate_s": 5,
        "gates": {"time_min_s": 60, "comparisons_min": 1_000},
        "auto_rollback": {"consecutive_evaluations": 60},
    },
    "ui": {"port": 0, "name": "demo"},
}

Picture = tuple[str, str, int, int, Literal["light", "dark"]]
PICTURES: tuple[Picture, ...] = (
    ("overview", "/", 1440, 900, "light"),
    ("overview-mobile", "/", 390, 844, "light"),
    ("rollout", "/rollout?drawer=rollback", 1440, 900, "light"),
    ("cause", "/causes/{cause}", 1440, 900, "light"),
    ("exchange", "/exchanges/{exchange}", 1440, 900, "light"),
    ("rules", "/rules?new=rule&draft={draft}", 1440, 900, "light"),
)
DRAFT = "rules:\n- path: score\n  absolute: '1'\n  reason: rounded to half points\n  owner: scoring\n"


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.ui_pictures", description=__doc__)
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder for the pictures (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the traffic at each share")
    parser.add_argument("--rate", type=float, default=8.0, help="requests per second")
    asyncio.run(take(parser.parse_args()))


async def take(args: argparse.Namespace) -> None:
    """Run an installation and take its pictures while requests come in."""
    folder = ROOT / "var" / "pictures"
    server = EmbeddedPostgres(folder / "pg")
    folder.mkdir(parents=True, exist_ok=True)
    args.to.mkdir(parents=True, exist_ok=True)
    server.start()
    options = DemoOptions(folder, divergences="lost_stamp:0.1,missing_event:0.1", overrides=SECTIONS)
    try:
        async with installed(server.dsn(), options, print) as system:
            await traffic(system, args.rate, args.seconds / 3)
            for percent in (5, 25):
                await promote_by_force(system, f"{percent} %, the owners of stamps are watching", actor="ada")
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(traffic(system, args.rate, args.seconds * 10))
                # (the pictures show the traffic of this long)
                await asyncio.sleep(args.seconds)
                await photograph(system, args.to)
                sending.cancel()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def traffic(system: Installation, rate: float, seconds: float) -> None:
    """Send requests."""
    await TrafficGenerator(system.url, system.targets, concurrency=8).at_rate(rate, seconds=seconds)


def newest_cause(url: str) -> Mapping[str, str]:
    """Return the ids of the first cause of the list and of its first example, as members of URLs."""
    (cause, *_) = read_page(f"{url}/causes.json?state=all")["causes"]
    return {"cause": cause["id"], "exchange": read_page(f"{url}/causes/{cause['id']}.json")["examples"][0]}


def read_page(url: str) -> dict[str, Any]:
    """Return the document of a screen."""
    with urlopen(url, timeout=30) as response:
        return json.load(response)["page"]


async def photograph(system: Installation, folder: Path) -> None:
    """Open each screen and store a picture of it."""
    async with running(read_settings(system.config_path)) as url, chromium() as browser:
        ids = await asyncio.to_thread(newest_cause, url)
        for name, template, width, height, scheme in PICTURES:
            path = template.format(**ids, draft=quote(DRAFT))
            async with tab(browser, url, width=width, height=height, scheme=scheme) as opened:
                await opened.open(path)
                await expect(opened.page.locator(".readiness")).to_contain_text("legacy healthy")
                await opened.page.evaluate("document.fonts.ready")
                full = height != 900
                await opened.page.screenshot(path=folder / f"{name}.png", full_page=full, animations="disabled")


if __name__ == "__main__":
    main()
