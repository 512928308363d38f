"""Files that only their owner may read: the one way in which what holds traffic is written.

Exports, cases, reports, offsets and keys are created with mode 0600 whatever the umask is, and a file that exists with a wider mode is
narrowed before anything is written to it.

What is read back is a regular file of a bounded size: opening a pipe would hang, and reading a device or a sparse file would not end.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, cast

MODE = 0o600
SMALL_MAX_BYTES = 16 * 1024**2
"""Size of a file that is read whole: a key, an offset, a state."""


def open_private(path: Path, mode: str = "wb") -> BinaryIO:
    """Open a file for writing bytes, readable by its owner only.

    Args:
        path: of the file; a pipe or a device keeps its mode.
        mode: `wb` replaces the content, `ab` appends.

    Raises:
        OSError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if mode == "ab" else 0)
    descriptor = os.open(path, flags, MODE)
    try:
        if path.is_file():
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, MODE)
            if mode != "ab":
                os.ftruncate(descriptor, 0)
        return cast("BinaryIO", os.fdopen(descriptor, mode))
    except BaseException:
        os.close(descriptor)
        raise


def open_regular(path: Path) -> int:
    """Open a regular file for reading, without waiting for anything; return its descriptor.

    Raises:
        OSError: it cannot be read, or is a pipe, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_small(path: Path, bytes_max: int = SMALL_MAX_BYTES) -> bytes:
    """Return the content of a regular file that is small.

    Raises:
        OSError: it cannot be read, is no regular file, or has more than `bytes_max` bytes.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        is_large = os.fstat(file.fileno()).st_size > bytes_max
        data = b"" if is_large else file.read(bytes_max + 1)
    if is_large or len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"larger than {bytes_max} bytes", str(path))
    return data


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read.

    Raises:
        OSError: it cannot be written.
    """
    with open_private(path) as file:
        file.write(data)


def replace_private_file(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably: a crash leaves the old or the new content, and only its owner may read it.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open_private(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the disk failed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
