"""What can go wrong in the proxy, its runner and its tools, each with the sentence that says what to do.

ProxyError
├── EmbeddedPostgresError    the demo's or the tests' own PostgreSQL did not start
├── DemoError                a part of the demo did not come up or died
│   └── ChildFailedError     a command that was to end well ended otherwise
├── SettingsError            config.yaml or the environment is wrong; the message names the path
├── JournalError
│   ├── JournalFormatError   a segment is not what this version reads
│   ├── JournalBusyError     another process writes or reads under this name
│   ├── JournalKeyError      no key to seal or open secrets with
│   └── SealedError          the key does not open a sealed exchange
├── MalformedError           a message that is not HTTP/1.1, or that two readers could read in two ways
├── ListenError              a port or socket cannot be listened on
├── SwitchError              the on-call switch cannot do what was asked
├── RolloutError
│   ├── RolloutRefusedError  the rollout cannot do this now; the message says why
│   ├── GatesClosedError     the evidence does not allow a promotion
│   ├── SupersededError      somebody else changed the rollout meanwhile
│   ├── NotStoredError       the store is away, and what was asked has to be stored before it takes effect
│   ├── StateFileError       the state or the audit log on disk cannot be read or written
│   └── AccessError          no token, a wrong one, or one whose role does not allow it
└── ShadowError
    ├── RunnerUpError            the runner is up, and both would write into the shadow
    ├── ShadowDriftError         rows of the shadow contradict live; it has to be resynced
    └── ShadowUnreachableError   the shadow database did not answer; try again
"""


class ProxyError(Exception):
    """Root of this package's errors."""


class EmbeddedPostgresError(ProxyError):
    """The embedded PostgreSQL could not be made, started or stopped."""


class DemoError(ProxyError):
    """A part of the demo did not come up or died; the message says which, why, and what to do."""


class ChildFailedError(DemoError):
    """A command that was to end well ended otherwise.

    Attributes:
        status: its exit code.
    """

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class SettingsError(ProxyError):
    """The configuration is wrong; nothing was started."""


class JournalError(ProxyError):
    """Root of the journal's errors."""


class JournalFormatError(JournalError):
    """Bytes on disk are not what this version of the journal reads."""


class JournalBusyError(JournalError):
    """Another process holds this writer's folder."""


class JournalKeyError(JournalError):
    """The journal's key is missing or unusable."""


class SealedError(JournalError):
    """A sealed exchange does not open with this key."""


class ListenError(ProxyError):
    """A port or socket cannot be listened on; the message says why."""


class SwitchError(ProxyError):
    """The on-call switch cannot do what was asked."""


class RolloutError(ProxyError):
    """Root of the rollout's errors."""


class RolloutRefusedError(RolloutError):
    """The rollout cannot do this where it stands."""


class GatesClosedError(RolloutError):
    """The evidence does not allow a promotion; the message lists the gates."""


class SupersededError(RolloutError):
    """Somebody else changed the rollout meanwhile: look at it again."""


class NotStoredError(RolloutError):
    """The change could not be stored, so it has not taken effect."""


class StateFileError(RolloutError):
    """A file of the rollout cannot be read or written."""


class AccessDeniedError(RolloutError):
    """Whoever asked may not do this.

    Attributes:
        status: 401, 403 or 429.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class ShadowError(ProxyError):
    """Root of the shadow runner's errors."""


class RunnerUpError(ShadowError):
    """The runner is up: it takes back what others write into the shadow database."""


class ShadowDriftError(ShadowError):
    """The shadow holds rows that contradict live's, so an alignment could not be written."""


class ShadowUnreachableError(ShadowError):
    """The shadow database did not answer; nothing was written."""


class MalformedError(ProxyError):
    """A message that is refused.

    Attributes:
        status: the code the client gets.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
