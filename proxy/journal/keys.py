"""Finds the journal's key: from the environment, else from a 0600 file beside the journal, made at the first start."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from proxy.errors import JournalKeyError
from proxy.journal.redaction import KEY_BYTES, RedactionKeys, keys_of

ENVIRONMENT = "SHADOW_JOURNAL_KEY"
FILE = "key"
SECRET_BYTES_MIN = 16


def load_keys(directory: Path, environ: Mapping[str, str], *, create: bool = False) -> RedactionKeys:
    """The keys of the journal in `directory`.

    Args:
        directory: the journal's folder.
        environ: SHADOW_JOURNAL_KEY wins over the file.
        create: make the file when neither is there (the proxy does; readers do not).

    Raises:
        JournalKeyError: no key, or one too short to be one.
    """
    given = environ.get(ENVIRONMENT, "")
    if given:
        return _checked(given.encode(), ENVIRONMENT)
    path = directory / FILE
    if create:
        _create(path)
    try:
        return _checked(path.read_bytes().strip(), str(path))
    except FileNotFoundError as error:
        raise JournalKeyError(f"no journal key: set {ENVIRONMENT}, or point at the journal that has {path}") from error
    except OSError as error:
        raise JournalKeyError(f"{path} cannot be read: {error.strerror}") from error


def share_key(source: Path, directory: Path, environ: Mapping[str, str]) -> None:
    """Give another journal's folder the key of the journal in `source`, so that what is copied there can be opened there.

    Raises:
        JournalKeyError: `directory` has another key already; what was written with it could be opened no more.
    """
    if environ.get(ENVIRONMENT, ""):
        return
    load_keys(source, environ)
    secret = (source / FILE).read_bytes()
    _create(directory / FILE, secret)
    if (directory / FILE).read_bytes() != secret:
        raise JournalKeyError(
            f"{directory} has another key than {source}: move it away, or give journal.mismatches another folder"
        )


def _checked(secret: bytes, source: str) -> RedactionKeys:
    if len(secret) < SECRET_BYTES_MIN:
        raise JournalKeyError(f"{source} holds {len(secret)} bytes; {SECRET_BYTES_MIN} or more are needed")
    return keys_of(secret)


def _create(path: Path, secret: bytes = b"") -> None:
    """Make the key file once, whole: two processes that start together end with the same key."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secret or secrets.token_hex(KEY_BYTES).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        # A link, unlike a rename, never replaces the key that another process has just made.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
