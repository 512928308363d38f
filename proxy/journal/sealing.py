r"""Seal the frames of a journal: everything in it is encrypted, whatever it is. Pure: keys and nonce are arguments.

The payload of a frame, as it is written:

    b"\xa5SEA" | 4-byte id of the key | 12-byte nonce | AES-256-GCM( zstd( msgpack array of Record ) )

The frame's first sequence is authenticated with it, so a frame cannot be moved. One cipher call per frame of 32 exchanges costs the writer
less than recognising secrets in them would, and it hides those that would not be recognised. Where exchanges leave the journal,
`proxy.journal.redaction` replaces their secrets.

Records of earlier versions, in frames that are not sealed, may have single values sealed: `Record.sealed` is a nonce and one box with the
originals of what was replaced by digests, bound to the exchange's id, which `unseal` puts back.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from comparator.exchanges.model import HeaderList
from proxy.errors import SealedError
from proxy.journal.format import FrameHeader, Record, decode_payload

KEY_BYTES = 32
NONCE_BYTES = 12
ID_BYTES = 4
SEALED_MAGIC = b"\xa5SEA"
_HEAD_BYTES = len(SEALED_MAGIC) + ID_BYTES + NONCE_BYTES


class Originals(msgspec.Struct, frozen=True, array_like=True):
    """The originals in a sealed record: header values with their index in the list; None for what was not changed."""

    request_headers: tuple[tuple[int, str], ...]
    response_headers: tuple[tuple[int, str], ...]
    target: str | None
    key: str | None
    request_body: bytes | None
    response_body: bytes | None


@dataclass(frozen=True, slots=True)
class JournalKey:
    """One key of a journal.

    Attributes:
        id: 8 hexadecimal digits; tells nothing about the secret.
        digest: key of the digests.
        keyed: a hash that was given this key already; copying it is faster than making one for each digest.
        frames: cipher of frames.
        records: cipher of the records of earlier versions.
    """

    id: str
    digest: bytes
    keyed: hashlib.blake2b
    frames: AESGCM
    records: AESGCM


@dataclass(frozen=True, slots=True)
class JournalKeys:
    """The keys of a journal: the active one, with which is written, and older ones, with which is only read."""

    active: JournalKey
    older: tuple[JournalKey, ...] = ()

    def __iter__(self) -> Iterator[JournalKey]:
        yield self.active
        yield from self.older

    @property
    def digest(self) -> bytes:
        """The key of the digests of the active key."""
        return self.active.digest

    def find(self, key_id: str) -> JournalKey | None:
        """Return the key of this id."""
        return next((key for key in self if key.id == key_id), None)


def key_of(secret: bytes) -> JournalKey:
    """Derive a key from a secret, which should be 32 random bytes."""

    def derive(person: bytes, size: int = KEY_BYTES) -> bytes:
        return hashlib.blake2b(secret, digest_size=size, person=person).digest()

    digests = derive(b"journal-digest")
    return JournalKey(
        derive(b"journal-key-id", ID_BYTES).hex(),
        digests,
        hashlib.blake2b(digest_size=16, key=digests),
        AESGCM(derive(b"journal-frame")),
        AESGCM(derive(b"journal-seal")),
    )


def keys_of(secret: bytes, older: Iterable[bytes] = ()) -> JournalKeys:
    """Derive the keys from the active secret and from older ones; equal ones count once."""
    active, found = key_of(secret), [key_of(other) for other in older]
    return JournalKeys(active, tuple({key.id: key for key in found if key.id != active.id}.values()))


def seal_payload(payload: bytes, key: JournalKey, *, nonce: bytes, first_sequence: int) -> bytes:
    """Return the payload of a frame, sealed.

    Args:
        payload: as of `proxy.journal.format.encode_payload`.
        key: the active one.
        nonce: NONCE_BYTES that were never used with this key before.
        first_sequence: of the frame.
    """
    head = SEALED_MAGIC + bytes.fromhex(key.id)
    return b"".join((head, nonce, key.frames.encrypt(nonce, payload, head + first_sequence.to_bytes(8, "little"))))


def key_id_of(payload: bytes) -> str | None:
    """Return the id of the key that a payload is sealed with; None when it is not sealed."""
    if payload[: len(SEALED_MAGIC)] != SEALED_MAGIC:
        return None
    return payload[len(SEALED_MAGIC) : len(SEALED_MAGIC) + ID_BYTES].hex()


def records_of(header: FrameHeader, payload: bytes, keys: JournalKeys | None) -> tuple[Record, ...]:
    """Return the records of an intact frame, sealed or of an earlier version.

    Raises:
        SealedError: the key is not among these, or the payload was changed.
        JournalFormatError: it is not a payload of this format version.
    """
    key_id = key_id_of(payload)
    if key_id is None:
        return decode_payload(payload)
    key = keys.find(key_id) if keys else None
    if key is None:
        raise SealedError(
            f"sealed with journal key {key_id}, which is not here: put it into SHADOW_JOURNAL_KEY, or the file key.{key_id} into the"
            " journal's folder"
        )
    nonce, box = payload[_HEAD_BYTES - NONCE_BYTES : _HEAD_BYTES], payload[_HEAD_BYTES:]
    bound_to = payload[: _HEAD_BYTES - NONCE_BYTES] + header.first_sequence.to_bytes(8, "little")
    try:
        plain = key.frames.decrypt(nonce, box, bound_to)
    except (InvalidTag, ValueError) as error:
        raise SealedError(f"journal key {key_id} does not open the frame: it was changed") from error
    return decode_payload(plain)


def unseal(record: Record, keys: JournalKeys) -> Record:
    """Return a record of an earlier version as it was before its secrets were replaced; unchanged when nothing was sealed in it.

    Raises:
        SealedError: it was sealed with another key, or changed since.
    """
    if not record.sealed:
        return record
    originals = _originals(record, keys)
    return replace(
        record,
        request_headers=_restore(record.request_headers, originals.request_headers),
        response_headers=_restore(record.response_headers, originals.response_headers),
        target=record.target if originals.target is None else originals.target,
        key=record.key if originals.key is None else originals.key,
        request_body=record.request_body if originals.request_body is None else originals.request_body,
        response_body=record.response_body if originals.response_body is None else originals.response_body,
        sealed=b"",
        redacted=(),
    )


def key_of_record(record: Record, keys: JournalKeys) -> JournalKey | None:
    """Return the key that opens what an earlier version sealed in a record; None when it is not among these."""
    return next((key for key in keys if _opened(record, key) is not None), None)


def _originals(record: Record, keys: JournalKeys) -> Originals:
    for key in keys:
        opened = _opened(record, key)
        if opened is not None:
            return opened
    raise SealedError(f"exchange {record.id}: no journal key here unseals it")


def _opened(record: Record, key: JournalKey) -> Originals | None:
    nonce, box = record.sealed[:NONCE_BYTES], record.sealed[NONCE_BYTES:]
    try:
        return msgspec.msgpack.decode(key.records.decrypt(nonce, box, record.id.encode()), type=Originals)
    except (InvalidTag, ValueError, msgspec.MsgspecError):
        return None


def _restore(headers: HeaderList, originals: Iterable[tuple[int, str]]) -> HeaderList:
    changed = list(headers)
    for index, value in originals:
        changed[index] = (changed[index][0], value)
    return tuple(changed)
