"""Settings that a reload changes, and those that are bound at the start."""

from pathlib import Path

import pytest

from proxy.config.changes import changed_paths
from proxy.config.loader import SettingsFile, load, when_changed
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.serving.config_reload import check_live_backends, keep_bound_settings


def settings(raw: str) -> Settings:
    return load(raw, {})


INITIAL = settings("listen: {port: 1, trusted_networks: [10.0.0.0/8]}\nserve: {salt: one, side: legacy}")


@pytest.mark.parametrize(
    "raw",
    [
        "limits: {total_s: 1}",
        "routes: [{name: a, path: /a}]",
        "serve: {side: candidate, percent: 5, fall_back: true}",
        "backends: {legacy: {live: {url: 'http://x', outlier_detection: {refuse: true}}}}",
        "mirroring: {per_s_max: 5}",
        "listen: {trusted_networks: [], override_token: t}",
        "journal: {body_max_bytes: 5}",
    ],
)
def test_setting_that_takes_effect_at_once_needs_no_restart(raw: str) -> None:
    new = settings(raw)
    assert not set(changed_paths(keep_bound_settings(settings(""), new), new))


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("listen: {port: 2}", "listen.port"),
        ("listen: {workers: 4}", "listen.workers"),
        ("listen: {tls: {certificate: a, key: b}}", "listen.tls"),
        ("admin: {token: t}", "admin.token"),
        ("databases: {store: d}", "databases.store"),
        ("journal: {queue_max: 5}", "journal.queue_max"),
        ("rollout: {steps: [0, 100]}", "rollout.steps"),
        ("serve: {state_file: elsewhere}", "serve.state_file"),
    ],
)
def test_bound_setting_stays_and_is_named(raw: str, path: str) -> None:
    initial, new = settings(""), settings(raw)
    merged = keep_bound_settings(initial, new)
    assert list(changed_paths(merged, new)) == [path]
    assert merged == initial


BOTH = "backends: {candidate: {live: {url: 'http://c'}}, legacy: {live: {url: 'http://l'}}}"


@pytest.mark.parametrize("raw", ["{}", "backends: {candidate: {live: {url: 'http://c'}}}"])
def test_file_without_a_live_backend_is_refused(raw: str) -> None:
    with pytest.raises(SettingsError, match=r"^backends\.(legacy|candidate)\.live\.url: "):
        check_live_backends(settings(BOTH), settings(raw))


def test_backend_may_change_its_url() -> None:
    text = "backends: {candidate: {live: {url: 'http://moved'}}}"
    check_live_backends(settings(text.replace("moved", "c")), settings(text))


def test_rollout_keeps_its_salt() -> None:
    initial = settings("rollout: {enabled: true}\nserve: {salt: one}")
    assert keep_bound_settings(initial, settings("serve: {salt: two}")).serve.salt == "one"


def test_salt_is_reloaded_without_a_rollout() -> None:
    assert keep_bound_settings(INITIAL, settings("serve: {salt: two}")).serve.salt == "two"


def test_file_counts_as_changed_until_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("listen: {port: 1}")
    file = SettingsFile(path)
    before = file.changed
    path.write_text("listen: {port: 22}")
    assert (before, file.changed, file.read().listen.port, file.changed) == (False, True, 22, False)


def test_replaced_file_of_the_same_size_and_time_counts_as_changed(tmp_path: Path) -> None:
    path, other = tmp_path / "config.yaml", tmp_path / "other"
    path.write_text("listen: {port: 1}")
    other.write_text("listen: {port: 2}")
    look = when_changed(path)
    other.replace(path)
    reloaded = look()
    assert reloaded is not None
    assert (reloaded.listen.port, look()) == (2, None)
