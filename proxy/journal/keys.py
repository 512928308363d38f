"""The redaction key of a journal: from the environment, else from a 0600 file in its folder, made at the first start."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from proxy.errors import JournalKeyError, JournalKeyMissingError
from proxy.journal.redaction import KEY_BYTES, RedactionKeys, keys_of

ENVIRONMENT = "SHADOW_JOURNAL_KEY"
FILE = "key"
SECRET_BYTES_MIN = 16


def load_keys(directory: Path, environ: Mapping[str, str], *, create: bool = False) -> RedactionKeys:
    """Return the keys of the journal in `directory`.

    Args:
        directory: the journal's folder.
        environ: SHADOW_JOURNAL_KEY takes precedence over the file.
        create: make the file when there is neither (the proxy does; readers do not).

    Raises:
        JournalKeyError: there is no key, or it is shorter than SECRET_BYTES_MIN.
    """
    secret = environ.get(ENVIRONMENT, "")
    if secret:
        return _checked(secret.encode(), ENVIRONMENT)
    path = directory / FILE
    if create:
        _create(path)
    try:
        return _checked(path.read_bytes().strip(), str(path))
    except FileNotFoundError as error:
        raise JournalKeyMissingError(
            f"no journal key: set {ENVIRONMENT}, or name the folder of a journal that has {path}"
        ) from error
    except OSError as error:
        raise JournalKeyError(f"cannot read {path}: {error.strerror}") from error


def share_key(source: Path, directory: Path, environ: Mapping[str, str]) -> None:
    """Copy the key of the journal in `source` to another journal's folder, so that records can be copied as they are sealed.

    Raises:
        JournalKeyError: `directory` has another key already, which its records need.
    """
    if environ.get(ENVIRONMENT, ""):
        return
    load_keys(source, environ)
    secret = (source / FILE).read_bytes()
    _create(directory / FILE, secret)
    if (directory / FILE).read_bytes() != secret:
        raise JournalKeyError(
            f"{directory} has another key than {source}: move that folder away, or set journal.mismatches.directory to another"
        )


def _checked(secret: bytes, source: str) -> RedactionKeys:
    if len(secret) < SECRET_BYTES_MIN:
        raise JournalKeyError(f"{source} is too short: {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed")
    return keys_of(secret)


def _create(path: Path, secret: bytes = b"") -> None:
    """Make the key file, atomically: of two processes that start together, one makes it and both use it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, secret or secrets.token_hex(KEY_BYTES).encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        # A link, unlike a rename, never replaces the key that another process has just made.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
