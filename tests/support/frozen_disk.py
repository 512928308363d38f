"""A disk that can be frozen and filled: an ext4 image, mounted by a loop device. It needs root and loop devices."""

import shutil
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE_BYTES = 24 * 1024**2
THAW_AFTER_S = 120.0
"""A test that hangs because of the frozen disk must not leave it frozen."""


@dataclass
class LoopDisk:
    """A mounted disk."""

    path: Path

    def freeze(self) -> None:
        """Let every write wait, until `thaw`."""
        _run("fsfreeze", "-f", self.path)

    def thaw(self) -> None:
        """Let the writes go on; a disk that is not frozen stays as it is."""
        subprocess.run(["fsfreeze", "-u", str(self.path)], check=False, stderr=subprocess.DEVNULL)

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Freeze the disk inside the block, at most for THAW_AFTER_S."""
        timer = threading.Timer(THAW_AFTER_S, self.thaw)
        timer.start()
        self.freeze()
        try:
            yield
        finally:
            timer.cancel()
            self.thaw()

    def fill(self) -> None:
        """Leave no byte free."""
        with (self.path / "filler").open("ab", buffering=0) as file:
            for size in (1024**2, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue


@contextmanager
def loop_disk(folder: Path) -> Generator[LoopDisk]:
    """Mount a disk in a folder; skip the test where that is not allowed."""
    if any(shutil.which(name) is None for name in ("mkfs.ext4", "mount", "fsfreeze")):
        pytest.skip("needs mkfs.ext4, mount and fsfreeze")
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZE_BYTES)
    # (no blocks for root alone: the tests run as root, for whom the disk would not be full)
    _run("mkfs.ext4", "-q", "-m", "0", image)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    disk = LoopDisk(mounted)
    try:
        yield disk
    finally:
        disk.thaw()
        _run("umount", "--lazy", mounted)


def _run(*command: str | Path) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
