"""The chain shows every change of a log."""

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.audit import AuditEntry, AuditEvent, ChainLink, chain_entry, verify

entries = st.builds(
    AuditEntry,
    id=st.uuids().map(str),
    at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    group=st.just("all"),
    event=st.sampled_from(AuditEvent),
    actor=st.text(max_size=10),
    reason=st.text(max_size=30),
    evidence=st.dictionaries(st.text(max_size=5), st.integers(-5, 5), max_size=3),
)
logs = st.lists(entries, min_size=2, max_size=8)


def chain(log: list[AuditEntry]) -> list[ChainLink]:
    links: list[ChainLink] = []
    for entry in log:
        links.append(chain_entry(entry, links[-1] if links else None))
    return links


@given(logs)
def test_unchanged_log_is_intact(log: list[AuditEntry]) -> None:
    links = chain(log)
    checked = verify(links)
    assert (checked.entries, checked.head, checked.fault) == (len(log), links[-1].hash, None)
    assert [link.entry for link in links] == log


@given(logs, st.data())
def test_changed_entry_is_detected(log: list[AuditEntry], data: st.DataObject) -> None:
    links = chain(log)
    index = data.draw(st.integers(0, len(links) - 1))
    links[index] = msgspec.structs.replace(links[index], body=links[index].body + " ")
    fault = verify(links).fault
    assert fault
    assert fault.startswith(f"entry {index + 1}:")


@given(logs, st.data())
def test_removed_entry_is_detected(log: list[AuditEntry], data: st.DataObject) -> None:
    links = chain(log)
    index = data.draw(st.integers(0, len(links) - 2))
    del links[index]
    assert verify(links).fault


@given(logs, entries)
def test_inserted_entry_is_detected(log: list[AuditEntry], extra: AuditEntry) -> None:
    links = chain(log)
    links.insert(1, chain_entry(extra, links[0]))
    assert verify(links).fault
