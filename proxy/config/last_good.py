"""The part of the last good configuration that a rollback needs, kept beside the state file of the on-call switch.

A configuration that is half written, or names a variable that the operator's shell does not have, must not be in the way of a rollback.
So a proxy keeps what it has started with: where the processes listen, and where their files are. Secrets are not kept.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from proxy.config.listen import ListenSettings
from proxy.config.rollout import RolloutSettings
from proxy.config.serve import ServeSettings
from proxy.config.settings import Settings
from proxy.private_file import read_small, write_private

NAME: Final = "last-good-config.json"
STATE_FILE: Final = re.compile(r"^\s*state_file:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


def kept_settings(settings: Settings) -> Settings:
    """Return the part of the settings that is kept. Pure."""
    rollout = settings.rollout
    return Settings(
        listen=ListenSettings(workers=settings.listen.workers),
        admin=msgspec.structs.replace(settings.admin, token=""),
        serve=settings.serve,
        rollout=RolloutSettings(
            enabled=rollout.enabled,
            steps=rollout.steps,
            groups=rollout.groups,
            peers=rollout.peers,
            state_file=rollout.state_file,
            audit_file=rollout.audit_file,
        ),
    )


def keep(settings: Settings) -> None:
    """Keep settings that are in force.

    Raises:
        OSError: they cannot be written.
    """
    path = Path(settings.serve.state_file).with_name(NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write_private(temporary, msgspec.json.encode(kept_settings(settings)))
    temporary.replace(path)


def last_good(config: Path) -> tuple[Settings, Path] | None:
    """Return the settings that were kept, and their file; None where there are none.

    Args:
        config: the configuration that cannot be read: the folder of its state file is looked for in its text.
    """
    for path in _candidates(config):
        try:
            return msgspec.json.decode(read_small(path), type=Settings), path
        except (OSError, msgspec.MsgspecError, RecursionError):
            continue
    return None


def _candidates(config: Path) -> Iterator[Path]:
    try:
        text = read_small(config).decode(errors="replace")
    except OSError:
        text = ""
    folders = [Path(name).parent for name in STATE_FILE.findall(text)]
    default = Path(ServeSettings().state_file).parent
    for folder in dict.fromkeys((*folders, default, config.parent / default, config.parent)):
        yield folder / NAME
