"""The completion script, in a real bash."""

import subprocess

import pytest

from proxy.cli.completion import command_words, script
from proxy.cli.main import COMMANDS

TRY = '{script}\nCOMP_WORDS=({words} "{last}"); COMP_CWORD={number}; _shadow; printf "%s\\n" "${{COMPREPLY[@]}}"'


@pytest.fixture(scope="module")
def completion() -> str:
    return script(command_words())


def completed(completion: str, line: str) -> list[str]:
    """Return what is offered for the last word of a line."""
    *words, last = line.split(" ")
    command = TRY.format(script=completion, words=" ".join(words), last=last, number=len(words))
    output = subprocess.run(["bash", "--norc", "-c", command], capture_output=True, text=True, check=True)
    assert output.stderr == ""
    return output.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shadow do", ["doctor"]),
        ("shadow --v", ["--version"]),
        ("shadow capture ch", ["check"]),
        ("shadow capture check --app", ["--apply"]),
        ("shadow capture check --driver s", ["stream", "sql"]),
        ("shadow capture check --apply --database l", ["live"]),
        ("shadow replay di", ["diff"]),
        ("shadow replay generate --nothing-like-it", []),
        ("shadow status --js", ["--json"]),
        ("shadow causes show --con", ["--config"]),
        ("shadow nonsense d", ["demo", "doctor"]),
    ],
)
def test_completions(completion: str, line: str, expected: list[str]) -> None:
    assert sorted(completed(completion, line)) == sorted(expected)


def test_every_command_is_offered(completion: str) -> None:
    assert {entry.name.split(" ")[0] for entry in COMMANDS} <= set(completed(completion, "shadow "))


def test_no_word_has_to_be_quoted() -> None:
    words = [
        word for one in command_words() for word in (*one.path, *one.words, *(v for _, vs in one.values for v in vs))
    ]
    assert [word for word in words if not word.replace("-", "").replace("_", "").replace(".", "").isalnum()] == []
