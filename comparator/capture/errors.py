"""What can go wrong while committed changes are captured. The tree:

CaptureError
├── CaptureClosedError        used before `start` or after `aclose`
├── CaptureLostError          the connection is gone and is being made anew
├── DecodeError               the log's bytes are not pgoutput, protocol 1
├── FenceTimeoutError         what was committed did not arrive in time
├── SlotLostError             the server threw the persistent slot's write-ahead log away
├── SlotTimeoutError          a slot could not be made while other transactions were running
├── CloneError                the shadow database could not be made from live
└── UnfitDatabaseError        the database lacks something; `remedy` is the SQL that would mend it
    ├── WalLevelError         wal_level is not logical, or the server is too old
    ├── RightsError           the role may not do what the driver needs
    ├── PublicationError      the publication is absent or holds no table
    ├── ReplicaIdentityError  publishing a table would break, or breaks, its writes
    └── ChangeLogError        the triggers' change log is not installed
"""


class CaptureError(Exception):
    """Root: capturing the committed changes of one database failed."""


class CaptureClosedError(CaptureError):
    """The capture was used before `start` or after `aclose`: the client's mistake."""


class CaptureLostError(CaptureError):
    """The database cannot be reached at the moment; the driver keeps trying by itself."""


class CatalogError(CaptureError):
    """A table named in the settings does not exist in the database."""


class DecodeError(CaptureError):
    """Bytes that are not pgoutput of protocol 1, or messages in an order the protocol forbids."""


class FenceTimeoutError(CaptureError):
    """A fence did not come out of the log within `fence_timeout_ms`: what was committed before it may not be here yet."""


class LockTimeoutError(CaptureError):
    """A statement of preparation gave up waiting for a table's lock, so that nobody waits behind it: run it again."""


class SlotLostError(CaptureError):
    """The server removed log the persistent slot still needed: drop the slot, verify or clone the shadow, start again."""


class SlotRefusedError(CaptureError):
    """The server refuses to make the slot: it exists, none is free, or the role may not."""


class SlotTimeoutError(CaptureError):
    """A logical slot waits for every running write transaction to end, and one did not end in time."""


class CloneError(CaptureError):
    """A program or statement failed while the shadow database was made from live."""


class PrerequisiteError(CaptureError):
    """The database lacks something the driver needs.

    Attributes:
        remedy: SQL statements that would mend it, in order; empty when SQL cannot.
    """

    def __init__(self, reason: str, *, remedy: tuple[str, ...] = ()) -> None:
        super().__init__(f"{reason}; run: {' '.join(remedy)}" if remedy else reason)
        self.remedy = remedy


class WalLevelError(PrerequisiteError):
    """The server writes no logical information into its log, or is older than PostgreSQL 14."""


class RightsError(PrerequisiteError):
    """The role lacks a right."""


class PublicationError(PrerequisiteError):
    """The publication does not exist or holds no table."""


class ReplicaIdentityError(PrerequisiteError):
    """A table has no replica identity fit for publishing, so that its UPDATE and DELETE statements would fail."""


class ChangeLogError(PrerequisiteError):
    """The change log of the trigger driver is not installed."""
