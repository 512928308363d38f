import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.demo.free_ports import BLOCK, FIRST, LAST, PortBlock, free_ports, port_blocks

OTHER_PROCESS = "from proxy.demo.free_ports import free_ports; print(*free_ports(300)); input()"


@pytest.mark.parametrize(
    ("ephemeral", "first", "last"),
    [
        (range(32_768, 61_000), FIRST, 65_399),
        (range(1_024, 61_000), 61_000, 65_399),
        (range(10_100, 65_536), FIRST, 65_199),
        (range(1, 65_536), FIRST, 65_199),
        (range(49_152, 65_536), FIRST, 48_799),
    ],
)
def test_blocks_lie_outside_the_kernels_range_where_there_is_room(ephemeral: range, first: int, last: int) -> None:
    blocks = list(port_blocks(ephemeral))
    assert (blocks[0].start, blocks[-1].stop - 1) == (first, last)
    assert {len(block) for block in blocks} == {BLOCK}
    assert all(one.stop <= other.start for one, other in pairwise(blocks))
    assert all(block.start >= FIRST and block.stop - 1 <= LAST for block in blocks)
    if len(ephemeral) < LAST - FIRST - BLOCK:
        assert not any(port in ephemeral for block in blocks for port in block)


def test_ports_of_several_processes_differ_while_nothing_listens_on_them() -> None:
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", OTHER_PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            for _ in range(2)
        ]
        chosen = [free_ports(300)]
        for process in processes:
            assert process.stdout
            chosen.append([int(port) for port in process.stdout.readline().split()])
        for process in processes:
            process.communicate(b"\n")
    assert len({port for ports in chosen for port in ports}) == 900


def test_ports_that_are_in_use_are_passed_over_and_the_others_handed_out_in_turn() -> None:
    start = free_ports(8)[0]
    with (
        Path(os.devnull).open("rb") as lock,
        socket.create_server(("127.0.0.1", start + 2)),
        socket.create_server(("0.0.0.0", start + 4)),
    ):
        block = PortBlock(range(start, start + 8), lock)
        assert block.take(1) + block.take(1) == [start, start + 1]
        assert block.take(2) == [start + 5, start + 6]
        assert block.take(2) == [start, start + 1]
        assert block.take(3) == [start + 5, start + 6, start + 7]
        with pytest.raises(OSError, match="no 4 free ports in a row"):
            block.take(4)
