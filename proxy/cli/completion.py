"""`shadow completion`: print a script that completes commands, options and their values in a shell.

Bash takes it as it is: `source <(shadow completion)`. Zsh does after `autoload -U +X bashcompinit && bashcompinit`. The script holds the words
of all commands, so that no Python starts while one types.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from proxy.cli import main as commands
from proxy.cli.exit_codes import Exit
from proxy.cli.output import print_line

SCRIPT = """\
# Completion of `shadow`: source <(shadow completion)
_shadow() {{
    local word path="" words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
            {paths}) path="$path $word" ;;
        esac
    done
    case "$path ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
        *)
            case "$path" in
{words}
            esac
            ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _shadow shadow"""


@dataclass(frozen=True, slots=True)
class CommandWords:
    """The words that may follow a command.

    Attributes:
        path: words of the command, e.g. `("capture", "check")`; empty for `shadow` itself.
        words: its subcommands, options and values of its arguments.
        values: the values of an option, by the option.
    """

    path: tuple[str, ...]
    words: tuple[str, ...]
    values: tuple[tuple[str, tuple[str, ...]], ...] = ()


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "shell", nargs="?", choices=("bash", "zsh"), default="bash", help="the shell (default: %(default)s)"
    )


def run(_: argparse.Namespace) -> int:
    """Print the script, which is the same for both shells."""
    print_line(script(command_words()))
    return Exit.DONE


def command_words() -> list[CommandWords]:
    """Return the words of every command that this package implements."""
    entries = [entry for entry in commands.COMMANDS if entry.module]
    every: list[CommandWords] = []
    names: dict[tuple[str, ...], list[str]] = {(): []}
    for entry in commands.COMMANDS:
        first, *second = entry.name.split(" ")
        names.setdefault((first,) if second else (), []).append(second[0] if second else first)
    for entry in entries:
        parser = argparse.ArgumentParser(prog=f"shadow {entry.name}")
        commands.load(entry).configure(parser)
        every += _words_of(parser, tuple(entry.name.split(" ")))
    return [
        CommandWords((), ("--version", "--help", *names[()])),
        *(CommandWords(one.path, (*names.get(one.path, ()), *one.words), one.values) for one in every),
    ]


def _words_of(parser: argparse.ArgumentParser, path: tuple[str, ...]) -> Iterator[CommandWords]:
    """Yield the words of a parser, and those of its subcommands."""
    words: list[str] = []
    values: list[tuple[str, tuple[str, ...]]] = []
    children: dict[str, argparse.ArgumentParser] = {}
    for action in cast("Sequence[Any]", parser._actions):  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] (argparse lists them nowhere else)
        if action.help == argparse.SUPPRESS:
            continue
        choices = tuple(str(choice) for choice in action.choices or ())
        if not action.option_strings and action.nargs == argparse.PARSER:
            children |= cast("dict[str, argparse.ArgumentParser]", action.choices)
        words += action.option_strings or choices
        values += [(option, choices) for option in action.option_strings if choices]
    yield CommandWords(path, tuple(words), tuple(values))
    for name, child in children.items():
        yield from _words_of(child, (*path, name))


def script(every: Sequence[CommandWords]) -> str:
    """Return the script. Words are names of commands, options and closed sets of values, none of which a shell has to quote."""
    return SCRIPT.format(
        paths="|".join(_quoted(one.path) for one in every if one.path),
        values="\n".join(
            f'        {_quoted((*one.path, option))}) words="{" ".join(choices)}" ;;'
            for one in every
            for option, choices in one.values
        ),
        words="\n".join(f'                {_quoted(one.path)}) words="{" ".join(one.words)}" ;;' for one in every),
    )


def _quoted(path: Sequence[str]) -> str:
    return '"' + "".join(f" {word}" for word in path) + '"'
