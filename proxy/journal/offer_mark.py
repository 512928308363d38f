"""Number of exchanges that a writer was ever offered, in memory that outlives its process.

A killed writer loses what it had in memory: an exchange is served, offered, and never on disk. The next process of the writer finds the
number here, so the loss has a number too: it leaves out as many sequences, and readers report the gap.

    offered   4715, in shared memory, when the process is killed
    on disk   4711, after the last whole frame
    restart   goes on with 4716: a reader that comes from 4711 reports 4712 to 4715 as lost
              until then the mark says that 4715 was an earlier process's, so that 4712 to 4715 do not look queued

The memory is a file on a tmpfs, because the event loop writes to it for each exchange: a page of a file on a disk that hangs would stop
the loop. It does not outlive the machine, and where there is no tmpfs the loss of a killed process is not known.
"""

import hashlib
import mmap
import os
import re
import secrets
import struct
from dataclasses import dataclass
from pathlib import Path

from proxy.private_file import read_small, replace_private_file

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (opened without following links, for its owner alone)
ID = "id"
"""File in a writer's folder that tells it from another folder of the same path: 16 hexadecimal digits."""

_LAYOUT = struct.Struct("<16sQQQ")
_FOLDER_ID = re.compile(b"[0-9a-f]{16}")
_COUNT_AT = 2
"""Index of the count, in units of 8 bytes; that of the earlier processes follows, and then the time."""


@dataclass(frozen=True, slots=True)
class Offered:
    """Numbers of the last exchange that a writer was offered, and that its earlier processes were; 0 for none.

    Requests that began before `settled_ns` (Unix nanoseconds, 0 for unknown) have ended, and were offered.
    """

    last: int
    earlier: int
    settled_ns: int = 0


class OfferMark:
    """The number of the last exchange that a writer was offered.

    Attributes:
        found: the number that an earlier process left; 0 for none.
        count: a view of one number, to be written as `count[0]`, without a system call.
        settled_ns: the same of the time before which all requests that began were offered.
    """

    def __init__(self, shared: mmap.mmap | None, found: int) -> None:
        self.found = found
        self._shared = shared
        numbers: memoryview[int] = memoryview(shared if shared is not None else bytearray(_LAYOUT.size)).cast("Q")
        self.count = numbers[_COUNT_AT : _COUNT_AT + 1]
        self.settled_ns = numbers[_COUNT_AT + 2 : _COUNT_AT + 3]

    @classmethod
    def open(cls, folder: Path, folder_id: str, *, directory: Path = SHARED_MEMORY) -> "OfferMark":
        """Open the mark of a writer's folder. Where there is no shared memory it ends with the process."""
        try:
            shared = _map(_path(folder, directory))
        except OSError:
            return cls(None, 0)
        owner, count, _, _ = _read(shared)
        if owner != folder_id.encode():
            count = 0
        shared[: _LAYOUT.size] = _LAYOUT.pack(folder_id.encode(), count, count, 0)
        return cls(shared, count)


def folder_id(folder: Path) -> str:
    """Return the id of a writer's folder, and make one if it has none.

    Raises:
        OSError: it cannot be read, or not be made.
    """
    made = secrets.token_hex(8)
    try:
        descriptor = os.open(folder / ID, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if found := read_folder_id(folder):
            return found
        # (one that was damaged says nothing any more: the numbers that follow are those of another folder)
        replace_private_file(folder / ID, made.encode())
        return made
    with os.fdopen(descriptor, "w") as file:
        file.write(made)
    return made


def read_folder_id(folder: Path) -> str:
    """Return the id of a writer's folder, "" if it has none, or one that is damaged."""
    try:
        found = read_small(folder / ID)
    except OSError:
        return ""
    return found.decode() if _FOLDER_ID.fullmatch(found) else ""


def offered(folder: Path, *, directory: Path = SHARED_MEMORY) -> Offered | None:
    """Return how many exchanges the folder's writer was offered; None where it is not known."""
    try:
        data = _path(folder, directory).read_bytes()
    except OSError:
        return None
    if len(data) < _LAYOUT.size:
        return None
    owner, last, earlier, settled_ns = _read(data)
    return Offered(last, earlier, settled_ns) if owner and owner == read_folder_id(folder).encode() else None


def _read(data: bytes | mmap.mmap) -> tuple[bytes, int, int, int]:
    owner, last, earlier, settled_ns = _LAYOUT.unpack_from(data)
    return bytes(owner), int(last), int(earlier), int(settled_ns)


def _path(folder: Path, directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return directory / f"shadow-journal-{os.getuid()}-{digest}"


def _map(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to another user")
        os.ftruncate(descriptor, _LAYOUT.size)
        return mmap.mmap(descriptor, _LAYOUT.size)
    finally:
        os.close(descriptor)
