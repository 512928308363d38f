"""Put new settings in force without a restart: on SIGHUP, and when the configuration file has changed.

An invalid file changes nothing: it is refused, logged and counted, and the old settings stay in force. Settings that a process binds at
its start (listeners, the journal, databases, the rollout) stay as they were; `needs_restart` of /status names them.
"""

import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from comparator.exchanges.model import Role, Side
from proxy.config import last_good
from proxy.config.changes import changed_paths
from proxy.config.listen import TlsSettings
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.rollout.disk import DiskThread
from proxy.serving.metrics import ReloadResult
from proxy.serving.state import ServingState

logger = logging.getLogger(__name__)

READ_S = 10.0
"""Time that a reload waits for the disk; the settings in force stay then."""


class ConfigSource(Protocol):
    """A source of settings."""

    @property
    def changed(self) -> bool:
        """True if the settings may have changed since the last `read`."""
        ...

    def read(self) -> Settings:
        """Read the settings.

        Raises:
            SettingsError: they are invalid.
        """
        ...


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """The TLS context of a listener and the files it was loaded from. They are loaded again on reload, because certificates expire.

    Attributes:
        location: of the files in config.yaml, for errors.
    """

    context: ssl.SSLContext
    files: TlsSettings
    location: str


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """The content of a certificate's files: read in one thread, used in another."""

    certificate: bytes
    key: bytes

    @classmethod
    def read(cls, certificate: LoadedCertificate) -> "CertificateFiles":
        """Read the files.

        Raises:
            SettingsError: they cannot be read.
        """
        files = certificate.files
        try:
            return cls(Path(files.certificate).read_bytes(), Path(files.key).read_bytes())
        except OSError as error:
            raise _unusable(certificate.location, error) from error

    def load_into(self, context: ssl.SSLContext) -> None:
        """Load the certificate from memory: OpenSSL takes files only, and those on a disk that hangs would stop the clients.

        Raises:
            OSError: they are not a certificate and its key.
        """
        certificate, key = _memory_file(self.certificate), _memory_file(self.key)
        try:
            context.load_cert_chain(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
        finally:
            os.close(certificate)
            os.close(key)


def _memory_file(content: bytes) -> int:
    descriptor = os.memfd_create("certificate")
    os.write(descriptor, content)
    return descriptor


def keep_bound_settings(initial: Settings, new: Settings) -> Settings:
    """Return new settings with everything that the process bound at its start. Pure.

    While the rollout is enabled the salt is bound too: another one would move clients to the other side.
    """
    replace = msgspec.structs.replace
    serve = initial.serve if initial.rollout.enabled else new.serve
    return replace(
        new,
        listen=replace(
            initial.listen, trusted_networks=new.listen.trusted_networks, override_token=new.listen.override_token
        ),
        admin=initial.admin,
        databases=initial.databases,
        journal=replace(initial.journal, body_max_bytes=new.journal.body_max_bytes),
        rollout=initial.rollout,
        serve=replace(
            new.serve,
            salt=serve.salt,
            state_file=initial.serve.state_file,
            sentinel_file=initial.serve.sentinel_file,
        ),
    )


def check_live_backends(initial: Settings, new: Settings) -> None:
    """Check that every live backend is still there. Pure.

    A file that is read while it is being saved may be valid as far as it goes: clients, or a rollback, would find no backend.

    Raises:
        SettingsError: one is missing.
    """
    for side in Side:
        if initial.backends.of(side, Role.SERVED).url and not new.backends.of(side, Role.SERVED).url:
            raise SettingsError(
                f"backends.{side}.live.url: it had a url when the proxy was started; restart the proxy to remove it"
            )


class ConfigReloader:
    """Put new settings in force.

    Args:
        state: the parts that get them.
        initial: the settings of the start.
        now: Unix time in seconds.
    """

    def __init__(self, state: ServingState, initial: Settings, now: Callable[[], float] = time.time) -> None:
        self.certificates: list[LoadedCertificate] = []
        self._state = state
        self._initial = initial
        self._disk = DiskThread("disk-config")
        self._now = now
        self._error = ""
        self._needs_restart: tuple[str, ...] = ()
        state.metrics.config_loaded_at = now()

    def apply(self, settings: Settings, certificates: Sequence[CertificateFiles] | None = None) -> None:
        """Put settings in force, all or none.

        Args:
            settings: the new ones.
            certificates: the content of the files of `self.certificates`; by default they are read.

        Raises:
            SettingsError: they are invalid in a way that only use shows (a route's path, a certificate), or a backend is missing.
        """
        check_live_backends(self._initial, settings)
        merged = keep_bound_settings(self._initial, settings)
        files = self._read_certificates() if certificates is None else certificates
        loaded = list(zip(self.certificates, files, strict=True))
        for certificate, content in loaded:
            # Into a new context first: loading a key that does not fit would leave the context in use without a certificate.
            try:
                content.load_into(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
            except OSError as error:
                raise _unusable(certificate.location, error) from error
        self._state.apply(merged)
        for certificate, content in loaded:
            content.load_into(certificate.context)
        self._needs_restart = tuple(changed_paths(merged, settings))
        self._state.metrics.config_needs_restart = len(self._needs_restart)

    def keep(self, settings: Settings) -> None:
        """Keep the settings in force for a rollback by a command that cannot read the configuration; returns at once."""

        def not_kept(error: Exception) -> None:
            logger.warning("last_good_config_not_kept", extra={"error": str(error)})

        kept = keep_bound_settings(self._initial, settings)
        self._disk.submit(lambda: last_good.keep(kept), lambda _: None, not_kept)

    def _read_certificates(self) -> list[CertificateFiles]:
        return [CertificateFiles.read(certificate) for certificate in self.certificates]

    async def has_changed(self, source: ConfigSource) -> bool:
        """Return whether the settings may have changed; False while the disk does not answer."""
        try:
            return await self._disk.run(lambda: source.changed, timeout_s=READ_S)
        except OSError:
            return False

    async def reload_from(self, source: ConfigSource) -> None:
        """Read settings and put them in force; log and count those that are refused.

        A thread reads, so that clients wait neither for YAML nor for the disk.
        """
        metrics = self._state.metrics
        try:
            settings, certificates = await self._disk.run(
                lambda: (source.read(), self._read_certificates()), timeout_s=READ_S
            )
            before = self._state.sides.splits
            self.apply(settings, certificates)
            if self._state.sides.splits != before:
                metrics.start_split()
        except (SettingsError, OSError) as error:
            self._error = str(error)
            metrics.config_reloads[ReloadResult.REFUSED] += 1
            logger.error("config_refused", extra={"error": str(error)})
            return
        self._error = ""
        self.keep(settings)
        metrics.config_reloads[ReloadResult.APPLIED] += 1
        metrics.config_loaded_at = self._now()
        logger.info("config_reloaded", extra={"stage": self._state.sides.split.stage})
        if self._needs_restart:
            logger.warning("config_needs_restart", extra={"settings": list(self._needs_restart)})

    def status(self) -> dict[str, Any]:
        """Return the part `config` of /status. `error` is why the last reload was refused, "" if it was not."""
        metrics = self._state.metrics
        return {
            "loaded_at": metrics.config_loaded_at,
            "applied": metrics.config_reloads[ReloadResult.APPLIED],
            "refused": metrics.config_reloads[ReloadResult.REFUSED],
            "error": self._error,
            "needs_restart": list(self._needs_restart),
        }


def tls_context(files: TlsSettings, location: str) -> ssl.SSLContext:
    """Load the TLS context of a listener.

    Raises:
        SettingsError: the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise _unusable(location, error) from error
    return context


def _unusable(location: str, error: OSError) -> SettingsError:
    return SettingsError(f"{location}: the certificate or its key cannot be used: {error}")
