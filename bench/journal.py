"""The cost of journaling: on the event loop for each request, in the writer's thread, and on disk.

`make bench-journal` (ARGS: --count 20000 --mode digest). Times are CPU times, which other load affects little, and medians of the rounds. Exchanges
have responses of about 2.4 KB with varying keys, ids and numbers. The last line is the result as JSON.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from comparator.exchanges.model import Exchange, Request, Response, Side
from proxy.config.journal import JournalSettings, RedactionMode, RedactionSettings
from proxy.journal.keys import load_keys
from proxy.journal.registry import open_writer
from proxy.journal.segment_reader import SegmentReader

STAMPS = 22


def make(number: int, chance: random.Random) -> Exchange:
    """Return one exchange."""
    """Return one exchange."""
    stamps = {
        f"Provider{index}": {
            "score": f"{chance.random():.5f}",
            "dedup": False,
            "expiration_date": "2099-01-01T00:00:00+00:00",
        }
        for index in range(STAMPS)
    }
    address = f"0x{chance.getrandbits(160):040x}"
    body = json.dumps({"address": address, "score": f"{chance.random() * 30:.5f}", "stamps": stamps}).encode()
    headers = (
        ("Host", "api.example"),
        ("X-API-Key", f"{chance.getrandbits(64):x}"),
        ("User-Agent", f"client/{number % 97}"),
        ("Accept", "application/json"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Request-Id", f"{chance.getrandbits(128):032x}"),
        ("traceparent", f"00-{chance.getrandbits(128):032x}-{chance.getrandbits(64):016x}-01"),
    )
    response_headers = (
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Date", "Thu, 01 Jan 1970"),
    )
    return Exchange(
        id=headers[5][1],
        route="score",
        key=address,
        served_by=Side.CANDIDATE,
        stage="candidate_100",
        started_ns=time.time_ns(),
        ended_ns=time.time_ns(),
        request=Request("GET", f"/v2/stamps/335/score/{address}", headers, b""),
        outcome=Response(200, response_headers, body),
    )


def measure(exchanges: list[Exchange], mode: RedactionMode) -> dict[str, float]:
    """Measure one round."""
    raw_bytes = sum(len(exchange.outcome.body) for exchange in exchanges if isinstance(exchange.outcome, Response))
    with tempfile.TemporaryDirectory() as directory:
        redaction = RedactionSettings(mode=mode)
        settings = JournalSettings(directory=directory, queue_max=10**6, queue_max_bytes=2**34, redaction=redaction)
        writer = open_writer(settings, {})
        writer.start()
        process_began, began = time.process_time(), time.perf_counter()
        loop_began = time.thread_time()
        for exchange in exchanges:
            writer.append(exchange)
        loop_s = time.thread_time() - loop_began
        writer.close()
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - process_began
        counts = writer.counts
        assert counts.written == len(exchanges)
        with SegmentReader(directory, "bench", keys=load_keys(Path(directory), {})) as reader:
            read_began = time.process_time()
            read = len(reader.take(len(exchanges)))
            read_s = time.process_time() - read_began
        assert read == len(exchanges)
    return {
        "append_us": loop_s / len(exchanges) * 1e6,
        "thread_us": (cpu_s - loop_s) / len(exchanges) * 1e6,
        "read_us": read_s / len(exchanges) * 1e6,
        "exchanges_per_s": len(exchanges) / wall_s,
        "bodies_mb_per_s": raw_bytes / wall_s / 1e6,
        "disk_bytes": counts.written_bytes / len(exchanges),
        "compression": raw_bytes / counts.written_bytes,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode", choices=[mode.value for mode in RedactionMode], default=RedactionMode.SEAL.value)
    args = parser.parse_args()
    chance = random.Random(1)
    exchanges = [make(number, chance) for number in range(args.count)]
    rounds = [measure(exchanges, RedactionMode(args.mode)) for _ in range(args.rounds)]
    result = {name: round(statistics.median(figures[name] for figures in rounds), 2) for name in rounds[0]}
    for name, value in result.items():
        print(f"{name:<18}{value:>12}")
    print(json.dumps({"bench": "journal", **result}))


if __name__ == "__main__":
    main()
