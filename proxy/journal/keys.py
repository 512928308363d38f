"""The keys of a journal: from the environment, and 0600 files in its folder. The first file is made at the first start.

    SHADOW_JOURNAL_KEY        one secret, or several with commas between them: the first is active, the others open what they sealed
    var/journal/key           the active secret where the environment has none
    var/journal/key.5b0a7c1e  an older secret, by the id of its key

A key becomes the active one with the next segment of each writer. The id of a key tells nothing about its secret.
"""

import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.errors import JournalKeyError, JournalKeyMissingError
from proxy.journal.sealing import KEY_BYTES, JournalKeys, key_of, keys_of
from proxy.journal.segments import segments
from proxy.private_file import read_small, replace_private_file

logger = logging.getLogger(__name__)

ENVIRONMENT = "SHADOW_JOURNAL_KEY"
FILE = "key"
SECRET_BYTES_MIN = 16


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key and its place: a file, or the name of the environment's variable."""

    id: str
    source: str
    active: bool


def load_keys(directory: Path, environ: Mapping[str, str], *, create: bool = False) -> JournalKeys:
    """Return the keys of the journal in `directory`.

    Args:
        directory: the journal's folder.
        environ: SHADOW_JOURNAL_KEY takes precedence over the file; the secrets of files can still be opened with.
        create: make the file when there is neither (the proxy does; readers do not).

    Raises:
        JournalKeyError: there is no active key, or it is shorter than SECRET_BYTES_MIN.
    """
    configured = _configured(environ)
    if create and not configured:
        _create(directory / FILE)
    older = list(_older_secrets(directory).values())
    if configured:
        # (a journal that once had a file of its own)
        older += [secret for secret in [_read_if_good(directory / FILE)] if secret]
        return keys_of(configured[0], (*configured[1:], *older))
    return keys_of(_file_secret(directory / FILE), older)


def available_keys(folder: Path, environ: Mapping[str, str]) -> JournalKeys | None:
    """Return the keys of a journal that is only read; None without any, since earlier versions wrote frames that need none.

    Args:
        folder: the journal's folder, or the folder of one of its writers.
        environ: for SHADOW_JOURNAL_KEY.

    Raises:
        JournalKeyError: the active key cannot be read, or is too short.
    """
    try:
        return load_keys(folder.absolute().parent if segments(folder) else folder, environ)
    except JournalKeyMissingError:
        return None


def list_keys(directory: Path, environ: Mapping[str, str]) -> list[StoredKey]:
    """Return all keys of the journal with their places, the active one first."""
    configured = _configured(environ)
    listed = [StoredKey(key_of(secret).id, ENVIRONMENT, not index) for index, secret in enumerate(configured)]
    secret = _read_if_good(directory / FILE)
    if secret:
        listed.append(StoredKey(key_of(secret).id, str(directory / FILE), not configured))
    return listed + [
        StoredKey(key_of(secret).id, str(path), active=False) for path, secret in _older_secrets(directory).items()
    ]


def add_key(directory: Path) -> str:
    """Make a new secret the active one of the folder; the present one stays, to open what it sealed. Return the new key's id.

    Each step leaves all keys readable: the older one is stored before it is replaced.

    Raises:
        OSError: a file cannot be written.
    """
    present = _read_if_good(directory / FILE)
    if present:
        replace_private_file(directory / f"{FILE}.{key_of(present).id}", present)
    secret = new_secret()
    replace_private_file(directory / FILE, secret)
    return key_of(secret).id


def retire_key(directory: Path, key_id: str) -> None:
    """Delete an older secret of the folder; what it sealed cannot be read any more.

    Raises:
        JournalKeyError: no file of the folder has it, or it is the active one.
    """
    for path, secret in _older_secrets(directory).items():
        if key_of(secret).id == key_id:
            path.unlink()
            return
    active = _read_if_good(directory / FILE)
    if active and key_of(active).id == key_id:
        raise JournalKeyError(f"key {key_id} is the active one; `shadow journal keys add` makes another one first")
    raise JournalKeyError(f"no file in {directory} has key {key_id}; `shadow journal keys list` shows where keys are")


def new_secret() -> bytes:
    """Return a secret of KEY_BYTES random bytes, as text."""
    return secrets.token_hex(KEY_BYTES).encode()


def share_keys(source: Path, directory: Path, environ: Mapping[str, str]) -> None:
    """Give another journal's folder the keys of the journal in `source`, the active one too; the folder's own keys stay readable.

    Raises:
        JournalKeyError: `source` has no key.
        OSError: a file cannot be written.
    """
    if _configured(environ):
        return
    secret = _file_secret(source / FILE)
    for path, older in _older_secrets(source).items():
        if not (directory / path.name).exists():
            replace_private_file(directory / path.name, older)
    own = _read_if_good(directory / FILE)
    if own == secret:
        return
    if own:
        replace_private_file(directory / f"{FILE}.{key_of(own).id}", own)
    replace_private_file(directory / FILE, secret)


def _configured(environ: Mapping[str, str]) -> list[bytes]:
    found = [part.strip().encode() for part in environ.get(ENVIRONMENT, "").split(",")]
    return [_checked(secret, ENVIRONMENT) for secret in found if secret]


def _file_secret(path: Path) -> bytes:
    try:
        return _checked(read_small(path).strip(), str(path))
    except FileNotFoundError as error:
        raise JournalKeyMissingError(
            f"no journal key: set {ENVIRONMENT}, or name the folder of a journal that has {path}"
        ) from error
    except OSError as error:
        raise JournalKeyError(f"cannot read {path}: {error.strerror}") from error


def _older_secrets(directory: Path) -> dict[Path, bytes]:
    """Return the secrets of older keys by file. One that cannot be used does not prevent a start."""
    found = {path: _read_if_good(path) for path in sorted(directory.glob(f"{FILE}.*"))}
    return {path: secret for path, secret in found.items() if secret}


def _read_if_good(path: Path) -> bytes | None:
    try:
        return _checked(read_small(path).strip(), str(path))
    except FileNotFoundError:
        return None
    except (OSError, JournalKeyError) as error:
        logger.error("journal_key_unusable", extra={"path": str(path), "error": str(error)})
        return None


def _checked(secret: bytes, source: str) -> bytes:
    if len(secret) < SECRET_BYTES_MIN:
        raise JournalKeyError(f"{source} is too short: {len(secret)} bytes, at least {SECRET_BYTES_MIN} are needed")
    return secret


def _create(path: Path) -> None:
    """Make the key file, atomically: of two processes that start together, one makes it and both use it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    replace_private_file(temporary, new_secret())
    try:
        # A link, unlike a rename, never replaces the key that another process has just made.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
