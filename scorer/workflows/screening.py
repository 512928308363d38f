"""Check submitted credentials against the ban list."""

from collections.abc import Sequence
from datetime import datetime

from scorer.db import bans as ban_rows
from scorer.db.pool import Database
from scorer.domain.bans import BanFinding, BannedSubject, find_bans, of_one_subject, subject_address
from scorer.errors import BadInputError, ServiceFailedError, UnanswerableError

_FAILED = "Failed to check bans"


async def check_bans(database: Database, subjects: Sequence[BannedSubject], *, now: datetime) -> list[BanFinding]:
    """Find the bans in force at `now` of each credential; all credentials must have the same subject.

    Raises:
        BadInputError: there are no credentials, or their subjects differ.
        ServiceFailedError: a credential has no hash, or PostgreSQL cannot represent a value.
        UnanswerableError: the subject has no id.
    """
    if not subjects:
        raise BadInputError("Must provide valid credential(s)")
    if not of_one_subject(subjects):
        raise BadInputError("All credentials must be issued to the same address")
    subject_id = subjects[0].id
    if subject_id is None:
        raise UnanswerableError("the subject has no id")
    hashes = [subject.hash for subject in subjects if subject.hash is not None]
    if len(hashes) < len(subjects):
        raise ServiceFailedError(_FAILED)
    address = subject_address(subject_id)
    try:
        bans = await database.read(lambda conn: ban_rows.active(conn, hashes, address=address, now=now))
    except UnanswerableError as error:
        raise ServiceFailedError(_FAILED) from error
    return find_bans(subjects, bans, address=address)
