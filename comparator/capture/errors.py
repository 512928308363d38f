"""Define the errors of change data capture.

CaptureError
├── CaptureClosedError        used before `start` or after `aclose`
├── CaptureLostError          the connection was lost; the driver reconnects
├── CatalogError              a configured table does not exist
├── DecodeError               the bytes of the log are not pgoutput, protocol 1
├── FenceTimeoutError         committed transactions did not arrive in time
├── LockTimeoutError          a table was busy while it was being prepared
├── SlotLostError             the server removed the persistent slot's write-ahead log
├── SlotRefusedError          the server refused to create the slot
├── SlotTimeoutError          a running transaction kept the slot from being created
├── CloneError                the shadow database could not be cloned from live
└── PrerequisiteError         the database lacks something; `remedy` is the SQL that would fix it
    ├── WalLevelError             wal_level is not logical, or the server is too old
    ├── RightsError               the role lacks a privilege
    ├── PublicationError          the publication does not exist or contains no table
    ├── ReplicaIdentityError      publishing a table would break its writes, or breaks them
    ├── WritesBrokenError         tried on live: after the change its writes would fail
    ├── NotCapturableError        a table cannot be captured exactly, or is not
    └── ChangeLogError            the triggers driver's change log is not installed
"""


class CaptureError(Exception):
    """Root of the errors of change data capture."""


class CaptureClosedError(CaptureError):
    """The capture was used before `start` or after `aclose`: a mistake in the calling code."""


class CaptureLostError(CaptureError):
    """The connection to the database was lost or cannot be established. A started driver reconnects by itself."""


class CatalogError(CaptureError):
    """A configured table does not exist in the database."""


class DecodeError(CaptureError):
    """The bytes are not pgoutput of protocol 1, or its messages come in an order that the protocol forbids."""


class FenceTimeoutError(CaptureError):
    """A fence was not read back from the log within `fence_timeout_ms`: transactions committed before it may still be missing."""


class LockTimeoutError(CaptureError):
    """A preparing statement gave up waiting for a table's lock, so that no client queues behind it: run the command again."""


class SlotLostError(CaptureError):
    """The server removed log that the persistent slot still needed: drop the slot, verify or clone the shadow, start again."""


class SlotRefusedError(CaptureError):
    """The server refused to create the slot: it exists, no slot is free, or the role lacks the privilege."""


class SlotTimeoutError(CaptureError):
    """A running write transaction did not end in time; creating a logical slot waits for all of them."""


class CloneError(CaptureError):
    """A program or statement failed while the shadow database was cloned from live."""


class PrerequisiteError(CaptureError):
    """The database lacks something that the driver needs.

    Attributes:
        remedy: SQL statements that would fix it, in order; empty when SQL cannot.
    """

    def __init__(self, reason: str, *, remedy: tuple[str, ...] = ()) -> None:
        super().__init__(f"{reason}; run: {' '.join(remedy)}" if remedy else reason)
        self.remedy = remedy


class WalLevelError(PrerequisiteError):
    """The server's wal_level is not `logical`, or it is older than PostgreSQL 14."""


class RightsError(PrerequisiteError):
    """The role lacks a privilege."""


class PublicationError(PrerequisiteError):
    """The publication does not exist or contains no table."""


class ReplicaIdentityError(PrerequisiteError):
    """A table's replica identity cannot be published: its UPDATE and DELETE statements would fail, or fail already."""


class WritesBrokenError(PrerequisiteError):
    """Writes of a table worked, and would not work after a change. The change was taken back; the message has the server's reason."""


class NotCapturableError(PrerequisiteError):
    """A table cannot be captured exactly, or is not; the message has the reason. Its rows must not be compared."""


class ChangeLogError(PrerequisiteError):
    """The triggers driver's change log is not installed, or is in use by another reader."""
