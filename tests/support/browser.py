"""Debian's Chromium, driven by Playwright: pages that note every error of the console and every violation of the security policy."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from playwright.async_api import Browser, Page, async_playwright

from tests.support.paths import ROOT

AXE = ROOT / "tests" / "data" / "axe" / "axe.min.js"
NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
RUN_AXE = """
async (rules) => {
  const only = rules.length ? {runOnly: {type: "rule", values: rules}} : {};
  const result = await axe.run(document, {resultTypes: ["violations"], ...only});
  return result.violations.map((one) => `${one.id}: ${one.nodes.map((node) => node.target.join(" ")).join(", ")}`);
}
"""


PROTRUDING = """
() => {
  const clips = (one) => ["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(one).overflowX);
  const names = new Set();
  for (const panel of document.querySelectorAll(".panel, .tile, .top, .banner, .drawer")) {
    const edge = panel.getBoundingClientRect().right + 0.6;
    for (const one of panel.querySelectorAll("*")) {
      if (one.closest("svg, .visually-hidden") || one.getBoundingClientRect().right <= edge || !one.getClientRects().length) continue;
      let above = one.parentElement;
      while (above !== panel && !clips(above)) above = above.parentElement;
      if (above === panel) names.add(`${panel.className}: ${one.tagName} ${one.textContent.trim().slice(0, 40)}`);
    }
  }
  return [...names];
}
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run a browser; it is never skipped where none is installed."""
    path = shutil.which("chromium")
    assert path, "Chromium is not installed: `make tools`, or apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Tab:
    """A tab on one UI.

    Attributes:
        problems: errors and warnings of the console, and uncaught exceptions of scripts.
    """

    page: Page
    problems: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        """Open a screen, and wait until its values are there."""
        await self.page.goto(path)
        await self.settled()

    async def settled(self) -> None:
        """Wait until nothing of the page is still being read."""
        # (a function to wait for would be evaluated as a string, which the policy forbids)
        await self.page.wait_for_selector(".reading[data-since]", state="detached")

    async def violations(self) -> list[str]:
        """Return what the security policy has blocked on the present page."""
        return await self.page.evaluate("window.violations")

    async def accessibility(self, *rules: str) -> list[str]:
        """Return what axe finds on the present page, by some of its rules or by all."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        return await self.page.evaluate(RUN_AXE, list(rules))

    async def sideways(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    async def protruding(self) -> list[str]:
        """Return what reaches beyond the right edge of its panel, where nothing scrolls."""
        return await self.page.evaluate(PROTRUDING)


@asynccontextmanager
async def tab(
    browser: Browser,
    url: str,
    *,
    width: int = 1280,
    height: int = 900,
    scheme: Literal["light", "dark"] = "light",
    **options: Any,
) -> AsyncIterator[Tab]:
    """Open a tab in a context of its own."""
    context = await browser.new_context(
        base_url=url, viewport={"width": width, "height": height}, color_scheme=scheme, **options
    )
    context.set_default_timeout(60_000)
    await context.add_init_script(NOTE_VIOLATIONS)
    opened = Tab(await context.new_page())
    opened.page.on(
        "console",
        lambda message: opened.problems.append(message.text) if message.type in {"error", "warning"} else None,
    )
    opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
    try:
        yield opened
    finally:
        await context.close()
