"""Texts that the standard library refuses to split as a URL: each place that takes one says so, and has no traceback."""

import json
from pathlib import Path

import pytest

from comparator import postgres
from proxy.cli.main import main
from proxy.initial_config.openapi import operations_of
from proxy.ui.configuration import without_password
from proxy.ui.signing_in import own_path

NO_URLS = ("http://[::1", "http://[v1", "//[", "http://a:b:c", "http://a:99999999")


@pytest.mark.parametrize("text", NO_URLS)
async def test_database(text: str) -> None:
    with pytest.raises(postgres.UNAVAILABLE):
        await postgres.connect(text, timeout_s=1)
    with pytest.raises(postgres.UNAVAILABLE):
        await postgres.open_pool(text, size=1, timeout_s=1)


@pytest.mark.parametrize("text", NO_URLS)
def test_clone_of_it(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", "clone", "--live", text, "--shadow", "postgresql://127.0.0.1:1/x"]) != 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", NO_URLS)
def test_page_to_go_back_to(text: str) -> None:
    assert own_path(text) == "/"
    assert own_path(text, below="/causes") == "/causes"


@pytest.mark.parametrize(
    ("target", "below", "expected"),
    [
        ("/rollout?x=1", "/", "/rollout?x=1"),
        ("//elsewhere.example", "/", "/"),
        ("\\\\elsewhere.example", "/", "/"),
        ("https://elsewhere.example/", "/", "/"),
        ("/causes?state=new", "/causes", "/causes?state=new"),
        ("/rollout", "/causes", "/causes"),
    ],
)
def test_only_own_pages_are_gone_back_to(target: str, below: str, expected: str) -> None:
    assert own_path(target, below=below) == expected


@pytest.mark.parametrize("text", NO_URLS)
def test_address_on_the_configuration_screen(text: str) -> None:
    assert without_password(text)


@pytest.mark.parametrize("text", NO_URLS)
def test_instance_to_replay_to(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = tmp_path / "targets.txt"
    recording.write_text("GET http://127.0.0.1:1/\n")
    assert main(["replay", str(recording), "--to", "candidate", "--instance", text, "--config", "config.yaml"]) != 0
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("text", NO_URLS)
def test_server_of_an_openapi_document(text: str) -> None:
    document = {"openapi": "3.0.0", "servers": [{"url": text}], "paths": {"/a": {"get": {"responses": {}}}}}
    assert operations_of(json.dumps(document))
