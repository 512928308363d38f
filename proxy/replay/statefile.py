"""Where a replay that was interrupted goes on: one small file, replaced as a whole."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from proxy.replay.errors import StateError


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """`done` records, counted over all passes, need not be sent again; `replay` says of which source and options."""

    v: int
    replay: str
    done: int


def load(path: Path, replay: str) -> int:
    """How many records are done; 0 when there is no file.

    Raises:
        StateError: the file is another replay's, or none.
    """
    try:
        state = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return 0
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path}: {error}") from error
    if state.replay != replay:
        raise StateError(f"{path} belongs to another replay ({state.replay}); remove it to begin anew")
    return state.done


def store(path: Path, replay: str, done: int) -> None:
    """Remember how far the replay is."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(State(1, replay, done)))
    draft.replace(path)
