"""Errors of replays. The message says what is wrong and what to do.

ReplayError
├── OptionError                         an option of the command cannot be used
├── CredentialError                     a credential has no value to be replaced by, or a token cannot be signed
├── IncompleteError                     not everything of the recording can be sent as it was recorded, and --strict is given
├── ResumeStateError                    the state file belongs to another replay, or cannot be read
├── TargetUnavailableError              the instance to send to cannot be reached
└── SnapshotError                       a snapshot cannot be made, restored or found
    └── SnapshotServerUnavailableError  the snapshots' server does not answer
"""

from proxy.errors import ProxyError


class ReplayError(ProxyError):
    """Root of the replay's errors."""


class OptionError(ReplayError):
    """An option is malformed, contradicts another one, or names something that cannot be used."""


class CredentialError(ReplayError):
    """`replay.credentials` names a variable that is not set, or a token cannot be signed again."""


class IncompleteError(ReplayError):
    """A recording holds records that are not sent, or requests whose credentials are missing, and `--strict` is given."""


class TargetUnavailableError(ReplayError):
    """The instance to send requests to cannot be reached."""


class ResumeStateError(ReplayError):
    """The state file belongs to another replay, or cannot be read."""


class SnapshotError(ReplayError):
    """The server refused, or the snapshot does not exist."""


class SnapshotServerUnavailableError(SnapshotError):
    """The snapshots' server does not answer, or refuses the connection."""
