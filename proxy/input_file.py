"""Files that a command is told to read: each is read whole, up to a limit, and what is wrong with it is one line.

A name may be that of anything: a device that never ends, a folder, a pipe, another file than was meant. A pipe of the shell
(`shadow compare <(zcat case.json.gz)`) is read like a file; one into which no process writes is empty, and is not waited for.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final

from proxy.errors import InputFileError

INPUT_MAX_BYTES: Final = 64 * 1024**2
"""Size of a file that is read whole. The largest are reports of replays with the bodies of all their examples."""


def read_input(path: Path, *, max_bytes: int = INPUT_MAX_BYTES) -> bytes:
    """Return the content of a file.

    Raises:
        InputFileError: it cannot be read, is empty, or has more than `max_bytes` bytes.
    """
    try:
        # (an open that blocks would wait for a process that writes into a pipe)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if stat.S_ISCHR(facts.st_mode) or stat.S_ISBLK(facts.st_mode):
                raise InputFileError(f"{path}: a device, which may never end; name a file")
            os.set_blocking(descriptor, True)
            data = file.read(max_bytes + 1) if facts.st_size <= max_bytes else None
    except OSError as error:
        remedy = "; name a file in it" if error.errno == errno.EISDIR else ""
        raise InputFileError(f"{path}: {error.strerror}{remedy}") from error
    except ValueError as error:
        raise InputFileError(f"{str(path)!r}: not the name of a file") from error
    if data is None or len(data) > max_bytes:
        raise InputFileError(f"{path}: too large: at most {max_bytes:,} bytes are read. Is it the file that you meant?")
    if not data:
        raise InputFileError(f"{path}: the file is empty")
    return data


def read_input_text(path: Path, *, max_bytes: int = INPUT_MAX_BYTES) -> str:
    """Return the text of a file.

    Raises:
        InputFileError: it cannot be read, is empty, not UTF-8, or has more than `max_bytes` bytes.
    """
    data = read_input(path, max_bytes=max_bytes)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputFileError(f"{path}: not UTF-8 at byte {error.start}") from error
