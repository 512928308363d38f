"""What a reload changes, what it leaves, and how it says so."""

from pathlib import Path

import pytest

from proxy.config.loader import SettingsFile, load, when_changed
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.serving.config_reload import changed_paths, check_live_backends, keep_bound_settings


def settings(raw: str) -> Settings:
    return load(raw, {})


BEGUN = settings("listen: {port: 1, trusted_networks: [10.0.0.0/8]}\nserve: {salt: one, side: legacy}")


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
def test_what_takes_effect_at_once_needs_no_restart(raw: str) -> None:
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
def test_what_is_bound_at_the_start_stays_and_is_named(raw: str, path: str) -> None:
    begun, new = settings(""), settings(raw)
    merged = keep_bound_settings(begun, new)
    assert list(changed_paths(merged, new)) == [path]
    assert merged == begun


BOTH = "backends: {candidate: {live: {url: 'http://c'}}, legacy: {live: {url: 'http://l'}}}"


@pytest.mark.parametrize("raw", ["{}", "backends: {candidate: {live: {url: 'http://c'}}}"])
def test_a_file_that_was_cut_before_a_backend_is_refused(raw: str) -> None:
    with pytest.raises(SettingsError, match=r"^backends\.(legacy|candidate)\.live\.url: "):
        check_live_backends(settings(BOTH), settings(raw))


def test_a_backend_may_move_and_one_that_was_not_there_may_be_missing() -> None:
    one = "backends: {candidate: {live: {url: 'http://moved'}}}"
    check_live_backends(settings(one.replace("moved", "c")), settings(one))


def test_the_rollout_keeps_its_salt() -> None:
    begun = settings("rollout: {enabled: true}\nserve: {salt: one}")
    assert keep_bound_settings(begun, settings("serve: {salt: two}")).serve.salt == "one"


def test_without_a_rollout_the_salt_is_the_files() -> None:
    assert keep_bound_settings(BEGUN, settings("serve: {salt: two}")).serve.salt == "two"


def test_a_file_is_changed_until_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("listen: {port: 1}")
    file = SettingsFile(path)
    before = file.changed
    path.write_text("listen: {port: 22}")
    assert (before, file.changed, file.read().listen.port, file.changed) == (False, True, 22, False)


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_is_changed(tmp_path: Path) -> None:
    path, other = tmp_path / "config.yaml", tmp_path / "other"
    path.write_text("listen: {port: 1}")
    other.write_text("listen: {port: 2}")
    look = when_changed(path)
    other.replace(path)
    found = look()
    assert found is not None
    assert (found.listen.port, look()) == (2, None)
