"""Where a replay that was interrupted goes on: one small file, replaced as a whole."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from proxy.replay.errors import ResumeStateError


class ResumeState(Struct, frozen=True, forbid_unknown_fields=True):
    """`done` records, counted over all passes, need not be sent again; `replay` says of which source and options.

    `beyond` are the numbers of later records that are done too: those that had not to wait for a slow one before them.
    """

    v: int
    replay: str
    done: int
    beyond: tuple[int, ...] = ()


def load(path: Path, replay: str) -> ResumeState:
    """What is done; nothing when there is no file.

    Raises:
        StateError: the file is another replay's, or none.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=ResumeState)
    except FileNotFoundError:
        return ResumeState(1, replay, 0)
    except (OSError, msgspec.MsgspecError) as error:
        raise ResumeStateError(f"{path}: {error}") from error
    if state.replay != replay:
        raise ResumeStateError(f"{path} belongs to another replay ({state.replay}); remove it to begin anew")
    return state


def store(path: Path, state: ResumeState) -> None:
    """Remember how far the replay is."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(state))
    draft.replace(path)
