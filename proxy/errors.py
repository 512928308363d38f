"""What can go wrong in the proxy, its runner and its tools, each with the sentence that says what to do.

    ProxyError
    ├── EmbeddedPostgresError    the demo's or the tests' own PostgreSQL did not start
    └── SettingsError            config.yaml or the environment is wrong; the message names the path
"""


class ProxyError(Exception):
    """Root of this package's errors."""


class EmbeddedPostgresError(ProxyError):
    """The embedded PostgreSQL could not be made, started or stopped."""


class SettingsError(ProxyError):
    """The configuration is wrong; nothing was started."""
