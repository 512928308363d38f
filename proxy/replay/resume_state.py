"""The state of an interrupted replay: one small file, replaced atomically."""

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from proxy.private_file import read_small, write_private
from proxy.replay.errors import ResumeStateError


class ResumeState(Struct, frozen=True, forbid_unknown_fields=True):
    """The progress of a replay.

    Attributes:
        v: version of the file.
        replay: names recording and options.
        done: all records below this number, counted over all passes, are done.
        done_beyond: numbers of later records that are done too, since they did not have to wait for a slow one before them.
    """

    v: int
    replay: str
    done: int
    done_beyond: tuple[int, ...] = ()


def load(path: Path, replay: str) -> ResumeState:
    """Return the progress of a replay; none when there is no file.

    Raises:
        ResumeStateError: the file belongs to another replay, or cannot be read.
    """
    try:
        state = msgspec.json.decode(read_small(path), type=ResumeState)
    except FileNotFoundError:
        return ResumeState(1, replay, 0)
    except OSError as error:
        raise ResumeStateError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ResumeStateError(f"{path}: not the progress of a replay: {error}") from error
    if state.replay != replay:
        raise ResumeStateError(
            f"{path} belongs to another replay ({state.replay}); remove it to start from the beginning"
        )
    return state


def store(path: Path, state: ResumeState) -> None:
    """Store the progress."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(temporary, msgspec.json.encode(state))
    temporary.replace(path)
