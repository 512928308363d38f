"""The table of requests without a route."""

import pytest

from proxy.serving.unrouted_paths import PATH_MAX, SHOWN_MAX, TEMPLATES_MAX, UnroutedPaths, template_of


@pytest.mark.parametrize(
    ("target", "template"),
    [
        ("/customers/17/invoices?page=2", "GET /customers/{}/invoices"),
        ("/wp-login.php", "GET /wp-login.php"),
        ("/v2/users/ann%40example.org", "GET /v2/users/{}"),
        ("/", "GET /"),
        ("*", "GET *"),
        ("/" + "x" * 1000, "GET /" + "x" * (PATH_MAX - 1)),
    ],
)
def test_templates(target: str, template: str) -> None:
    assert template_of("GET", target) == template


def test_most_frequent_templates_stay_in_bounded_memory() -> None:
    paths = UnroutedPaths()
    for number in range(TEMPLATES_MAX * 5):
        paths.add("GET", "/often")
        paths.add("GET", f"/once-{chr(97 + number % 26)}-{number}x")
    ranked = paths.most_frequent()
    assert ranked[0] == {"template": "GET /often", "count": TEMPLATES_MAX * 5}
    assert len(ranked) == SHOWN_MAX
    assert len(paths._counts) == TEMPLATES_MAX
