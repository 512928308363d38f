"""What can go wrong while captured traffic is read and played.

ReplayError
├── SourceError        a recording cannot be read at all; the message names the place
├── OptionError        an option of the command makes no sense
├── CredentialError    a rewritten credential has no value to be written with
├── StateError         the state file is of another recording, or cannot be read
└── SnapshotError      a snapshot cannot be made, restored or found
    └── ServerAwayError    the server that has it, or will, does not answer
"""

from proxy.errors import ProxyError


class ReplayError(ProxyError):
    """Root of this package's errors."""


class SourceError(ReplayError):
    """The recording is not what its format says; one bad record is a `Malformed` value instead."""


class OptionError(ReplayError):
    """An option cannot be understood."""


class CredentialError(ReplayError):
    """`replay.credentials` names a variable that is not set, or a token that cannot be signed again."""


class StateError(ReplayError):
    """The state file does not belong to this replay."""


class SnapshotError(ReplayError):
    """The server refused, or the snapshot is not there."""


class ServerAwayError(SnapshotError):
    """The snapshots' server does not answer, or lets nobody in."""
