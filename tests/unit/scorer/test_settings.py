"""The environment as settings."""

import base64

import pytest

from scorer.errors import ScorerSettingsError
from scorer.settings import load

DSN = {"DATABASE_URL": "postgresql://x"}


def test_defaults_are_those_of_the_legacy():
    settings = load(DSN)
    assert (settings.internal_token, settings.passport_public_url) == ("abc", "http://localhost:80")
    assert (settings.analytics, settings.rate_limits, settings.human_points.write) == (False, False, False)
    assert settings.limits.body_max_bytes == 2621440


def test_database_is_needed():
    with pytest.raises(ScorerSettingsError, match="DATABASE_URL"):
        load({})


def test_proxy_s_name_of_the_database_is_taken_too():
    assert load({"RDS_PROXY_URL": "postgresql://y"}).database_url == "postgresql://y"


def test_feature_flags_are_on_only_when_they_say_so_exactly():
    assert (load({**DSN, "FF_API_ANALYTICS": "on"}).analytics, load({**DSN, "FF_API_ANALYTICS": "true"}).analytics) == (
        True,
        False,
    )


def test_issuers_are_a_json_array():
    assert load({**DSN, "TRUSTED_IAM_ISSUERS": '["did:a", "did:b"]'}).trusted_issuers == {"did:a", "did:b"}


@pytest.mark.parametrize("raw", ["did:a", '{"a": 1}', "[1"])
def test_issuers_that_are_not_a_json_array_are_refused(raw):
    with pytest.raises(ScorerSettingsError, match="TRUSTED_IAM_ISSUERS"):
        load({**DSN, "TRUSTED_IAM_ISSUERS": raw})


@pytest.mark.parametrize("name", ["HUMAN_POINTS_START_TIMESTAMP", "SCORER_POOL_MAX", "SCORER_DRAIN_S"])
def test_numbers_that_are_none_are_refused_by_name(name):
    with pytest.raises(ScorerSettingsError, match=name):
        load({**DSN, name: "many"})


def test_key_may_be_a_pem_or_its_base64():
    pem = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"
    encoded = base64.b64encode(pem.encode()).decode()
    given = [load({**DSN, "SIWE_JWT_PUBLIC_KEY": raw}).siwe_jwt_public_key for raw in (pem, encoded)]
    assert given == [pem, pem]


def test_key_that_is_neither_is_refused():
    with pytest.raises(ScorerSettingsError, match="SIWE_JWT_PUBLIC_KEY"):
        load({**DSN, "SIWE_JWT_PUBLIC_KEY": "§"})


def test_own_body_cap_answers_413():
    assert load({**DSN, "SCORER_BODY_MAX_BYTES": "10"}).limits.body_too_large_status == 413


def test_demo_without_scorer_matches_no_community():
    assert load(DSN).demo.scorer_id == "None"
