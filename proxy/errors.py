"""Errors of the proxy, its runner and its commands. Each class is a cause; the message says what is wrong, where, and what to do.

ProxyError
├── EmbeddedPostgresError          the demo's or the tests' own PostgreSQL did not start
├── DemoError                      a part of the demo did not start, or ended early
│   └── ChildFailedError           a command that was to succeed did not
├── SettingsError                  config.yaml or the environment is wrong; the message begins with the path
├── InputFileError                 a file that a command was told to read cannot be; the message begins with the path
├── JournalError
│   ├── JournalFormatError         a segment is not in a format that this version reads
│   ├── JournalBusyError           another process writes or reads under this name
│   ├── JournalKeyError            there is no key to seal or open secrets with
│   │   └── JournalKeyMissingError there is none yet
│   ├── SealedError                the key does not open a sealed exchange
│   └── BrokerError
│       ├── BrokerUnavailableError the broker of the shared journal did not answer; try again
│       │   └── BrokerFullError    it has no memory for more
│       └── StreamGoneError        it does not hold what it was given
├── MalformedError                 a message that is not HTTP/1.1, or that two parsers could read in two ways
├── ListenError                    a port or socket cannot be listened on
├── SwitchError
│   ├── SentinelFileError          the sentinel file forbids to resume
│   └── SwitchNotStoredError       the state of the switch cannot be written
├── RolloutError
│   ├── RolloutRefusedError        the present state of the rollout does not allow the change
│   ├── GatesClosedError           the evidence does not allow a promotion
│   ├── SupersededError            another change came first
│   ├── RequestExpiredError        the sender of the change no longer waits for it
│   ├── RevisionMissingError       the change does not name the state that it was decided on
│   ├── NotStoredError             the change has to be stored before it takes effect, and the store is unavailable
│   ├── StateFileError             the state or the audit log on disk cannot be read or written
│   └── AccessDeniedError
│       ├── UnauthenticatedError   no token, or one that is not valid
│       ├── ForbiddenError         a valid token whose role does not allow it, or a page of another origin
│       └── TooManyFailuresError   too many wrong tokens from one address
├── RunnerError
│   ├── LeaseLostError             another runner has taken over; nothing of this one is stored any more
│   ├── RunnerRunningError         the runner is running, and both would write to the shadow database
│   ├── ShadowDriftError           rows of the shadow database contradict live; it has to be resynced
│   └── DatabaseUnreachableError   the live or the shadow database did not answer; try again
├── RecordingError                 a traffic file cannot be read: proxy.recordings.errors
└── ReplayError                    a replay cannot be done: proxy.replay.errors
"""


class ProxyError(Exception):
    """Root of this package's errors."""


class EmbeddedPostgresError(ProxyError):
    """The embedded PostgreSQL could not be created, started or stopped."""


class DemoError(ProxyError):
    """A part of the demo did not start, or ended early; the message says which part, why, and what to do."""


class ChildFailedError(DemoError):
    """A command that was to succeed did not.

    Attributes:
        status: its exit code.
    """

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class SettingsError(ProxyError):
    """The configuration is wrong; nothing was started."""


class InputFileError(ProxyError):
    """A file that a command was told to read is missing, empty, too large, a folder, or not what it has to be."""


class JournalError(ProxyError):
    """Root of the journal's errors."""


class JournalFormatError(JournalError):
    """Bytes on disk are not in a format that this version of the journal reads."""


class JournalBusyError(JournalError):
    """Another process holds this writer's folder."""


class JournalKeyError(JournalError):
    """The journal's key is missing or unusable."""


class JournalKeyMissingError(JournalKeyError):
    """There is no journal key yet: the proxy makes it when it starts."""


class SealedError(JournalError):
    """A sealed exchange does not open with this key."""


class BrokerError(JournalError):
    """Root of the errors of the shared journal's broker."""


class BrokerUnavailableError(BrokerError):
    """The broker did not answer, or refused a command. What was sent may have arrived, and may be sent again."""


class BrokerFullError(BrokerUnavailableError):
    """The broker has no memory for more; nothing was stored."""


class StreamGoneError(BrokerError):
    """The broker does not hold what it was given before: it was emptied, or came back with an older state."""


class ListenError(ProxyError):
    """A port or socket cannot be listened on; the message says why."""


class SwitchError(ProxyError):
    """Root of the on-call switch's errors: a resume did not take effect."""


class SentinelFileError(SwitchError):
    """The sentinel file exists: while it does, the legacy serves all clients."""


class SwitchNotStoredError(SwitchError):
    """The end of a rollback could not be written; after a restart the rollback would be back."""


class RolloutError(ProxyError):
    """Root of the rollout's errors."""


class RolloutRefusedError(RolloutError):
    """The present state of the rollout does not allow the change."""


class GatesClosedError(RolloutError):
    """The evidence does not allow a promotion; the message lists the gates that are not open."""


class SupersededError(RolloutError):
    """Another change of the rollout came first; read the state again before deciding."""


class RequestExpiredError(RolloutError):
    """The change arrived after its sender had given up: nothing was changed."""


class RevisionMissingError(RolloutError):
    """The change has to name the state that it was decided on, and does not."""


class NotStoredError(RolloutError):
    """The change could not be stored, so it did not take effect."""


class StateFileError(RolloutError):
    """A file of the rollout cannot be read or written."""


class AccessDeniedError(RolloutError):
    """Root of refusals by credentials."""


class UnauthenticatedError(AccessDeniedError):
    """The request has no token, or one that is not valid."""


class ForbiddenError(AccessDeniedError):
    """The sender is known, or a browser page of another origin, and may not do this."""


class TooManyFailuresError(AccessDeniedError):
    """Too many wrong tokens came from this address within a minute."""


class RunnerError(ProxyError):
    """Root of the shadow runner's errors."""


class LeaseLostError(RunnerError):
    """This runner does not hold the lease of its name: nothing was stored, and it must stop to write to the shadow."""


class RunnerRunningError(RunnerError):
    """The runner is running: it would revert what another process writes to the shadow database."""


class ShadowDriftError(RunnerError):
    """Rows of the shadow database contradict live, so that an alignment could not be written."""


class DatabaseUnreachableError(RunnerError):
    """The live or the shadow database did not answer; nothing was written."""


class DatabaseMissingError(DatabaseUnreachableError):
    """The live or the shadow database was dropped. What waits for it goes on once it is there again."""


class MalformedError(ProxyError):
    """A message that is refused.

    Attributes:
        status: the code of the response to the client.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
