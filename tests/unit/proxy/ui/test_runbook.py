"""The runbook as HTML: code, tables and lists as such, nothing of the text as tags, no link that leads nowhere."""

import pytest

from proxy.ui.runbook import FILE, html_of, sections_of


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Run `shadow status`.", "<p>Run <code>shadow status</code>.</p>\n"),
        (
            "```sh\nshadow status\n```",
            '<pre class="code" tabindex="0"><code class="language-sh">shadow status\n</code></pre>\n',
        ),
        ("see [there](#what-is-wrong)", '<p>see <a href="#what-is-wrong">there</a></p>\n'),
        ("see [the `docs`](docs/web-ui.md) too", "<p>see the <code>docs</code> too</p>\n"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>\n"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"),
        ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n"),
    ],
    ids=["code", "block", "section", "file", "script in a link", "tag", "list"],
)
def test_text_becomes_html(text: str, html: str) -> None:
    assert html_of(text) == html


def test_table_can_be_scrolled_by_keyboard() -> None:
    html = html_of("| a | b |\n|---|---|\n| 1 | 2 |")
    assert html.startswith('<div class="table-scroll" tabindex="0"><table>')
    assert html.endswith("</table></div>\n")


def test_nothing_of_the_runbook_is_left_as_markdown() -> None:
    html = "".join(html_of(section.text) for section in sections_of(FILE.read_text(encoding="utf-8")))
    assert [mark for mark in ("```", "|---", "](") if mark in html] == []
