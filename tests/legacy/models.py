"""Django models of the legacy tables that scoring uses; the scorer's migrations create the schema."""

# ruff: noqa: DJ001, DJ008 (the columns are what they are; nothing prints a row)

from django.db import models


class User(models.Model):
    username = models.CharField(max_length=150)

    class Meta:
        managed = False
        db_table = "auth_user"


class Account(models.Model):
    address = models.CharField(max_length=100)
    user = models.ForeignKey(User, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_account"


class ApiKey(models.Model):
    id = models.CharField(max_length=150, primary_key=True)
    prefix = models.CharField(max_length=8)
    hashed_key = models.CharField(max_length=150)
    revoked = models.BooleanField()
    hashed_key_sha256 = models.CharField(max_length=71, null=True)
    account = models.ForeignKey(Account, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_accountapikey"


class Analytics(models.Model):
    created_at = models.DateTimeField(auto_now_add=True)
    path = models.CharField(max_length=1000)
    api_key = models.ForeignKey(ApiKey, models.DO_NOTHING)
    base_path = models.CharField(max_length=200, null=True)
    error = models.TextField(null=True)
    headers = models.JSONField(null=True)
    path_segments = models.JSONField(null=True)
    payload = models.JSONField(null=True)
    query_params = models.JSONField(null=True)
    response = models.JSONField(null=True)
    response_skipped = models.BooleanField(null=True)
    status_code = models.IntegerField(null=True)

    class Meta:
        managed = False
        db_table = "account_accountapikeyanalytics"


class Scorer(models.Model):
    type = models.CharField(max_length=100)

    class Meta:
        managed = False
        db_table = "scorer_weighted_scorer"


class WeightedScorer(models.Model):
    scorer_ptr = models.OneToOneField(Scorer, models.DO_NOTHING, primary_key=True)
    weights = models.JSONField(null=True)
    threshold = models.DecimalField(max_digits=10, decimal_places=5)

    class Meta:
        managed = False
        db_table = "scorer_weighted_weightedscorer"


class BinaryWeightedScorer(models.Model):
    scorer_ptr = models.OneToOneField(Scorer, models.DO_NOTHING, primary_key=True)
    weights = models.JSONField(null=True)
    threshold = models.DecimalField(max_digits=10, decimal_places=5)

    class Meta:
        managed = False
        db_table = "scorer_weighted_binaryweightedscorer"


SUBTYPES = {"WEIGHTED": WeightedScorer, "WEIGHTED_BINARY": BinaryWeightedScorer}


class Community(models.Model):
    account = models.ForeignKey(Account, models.DO_NOTHING)
    scorer = models.ForeignKey(Scorer, models.DO_NOTHING)
    rule = models.CharField(max_length=100)
    external_scorer_id = models.CharField(max_length=42, null=True)
    human_points_program = models.BooleanField()

    class Meta:
        managed = False
        db_table = "account_community"


class Customization(models.Model):
    scorer = models.ForeignKey(Community, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_customization"


class AddressList(models.Model):
    name = models.CharField(max_length=100)

    class Meta:
        managed = False
        db_table = "account_addresslist"


class AddressListMember(models.Model):
    address = models.CharField(max_length=100)
    list = models.ForeignKey(AddressList, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_addresslistmember"


class AllowList(models.Model):
    weight = models.DecimalField(max_digits=7, decimal_places=4)
    address_list = models.ForeignKey(AddressList, models.DO_NOTHING)
    customization = models.ForeignKey(Customization, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_allowlist"


class CustomCredentialRuleset(models.Model):
    provider_id = models.CharField(max_length=256)

    class Meta:
        managed = False
        db_table = "account_customcredentialruleset"


class CustomCredential(models.Model):
    weight = models.DecimalField(max_digits=7, decimal_places=4)
    customization = models.ForeignKey(Customization, models.DO_NOTHING)
    ruleset = models.ForeignKey(CustomCredentialRuleset, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "account_customcredential"


class CeramicCache(models.Model):
    address = models.CharField(max_length=100, null=True)
    provider = models.CharField(max_length=256)
    stamp = models.JSONField()
    created_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField()
    type = models.IntegerField()
    deleted_at = models.DateTimeField(null=True)
    compose_db_save_status = models.CharField(max_length=10)
    compose_db_stream_id = models.CharField(max_length=100)
    expiration_date = models.DateTimeField(null=True)
    issuance_date = models.DateTimeField(null=True)
    proof_value = models.CharField(max_length=256)
    source_app = models.IntegerField(null=True)
    source_scorer_id = models.BigIntegerField(null=True)

    class Meta:
        managed = False
        db_table = "ceramic_cache_ceramiccache"


class Revocation(models.Model):
    proof_value = models.CharField(max_length=256)
    ceramic_cache = models.OneToOneField(CeramicCache, models.DO_NOTHING, related_name="revocation")

    class Meta:
        managed = False
        db_table = "ceramic_cache_revocation"


class Passport(models.Model):
    address = models.CharField(max_length=100, null=True)
    community = models.ForeignKey(Community, models.DO_NOTHING, null=True)
    requires_calculation = models.BooleanField(null=True)

    class Meta:
        managed = False
        db_table = "registry_passport"


class Stamp(models.Model):
    passport = models.ForeignKey(Passport, models.DO_NOTHING, null=True)
    provider = models.CharField(max_length=256)
    credential = models.JSONField()

    class Meta:
        managed = False
        db_table = "registry_stamp"


class Score(models.Model):
    passport = models.OneToOneField(Passport, models.DO_NOTHING)
    score = models.DecimalField(null=True, max_digits=18, decimal_places=9)
    last_score_timestamp = models.DateTimeField(null=True)
    status = models.CharField(max_length=20, null=True)
    error = models.TextField(null=True)
    evidence = models.JSONField(null=True)
    stamp_scores = models.JSONField(null=True)
    stamps = models.JSONField(null=True)
    expiration_date = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "registry_score"


class Event(models.Model):
    action = models.CharField(max_length=3)
    address = models.CharField(max_length=42)
    created_at = models.DateTimeField(auto_now_add=True)
    data = models.JSONField()
    community = models.ForeignKey(Community, models.DO_NOTHING, null=True)

    class Meta:
        managed = False
        db_table = "registry_event"


class HashScorerLink(models.Model):
    hash = models.CharField(max_length=100)
    address = models.CharField(max_length=42)
    expires_at = models.DateTimeField()
    community = models.ForeignKey(Community, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "registry_hashscorerlink"


class HumanPoints(models.Model):
    address = models.CharField(max_length=42)
    action = models.CharField(max_length=3)
    timestamp = models.DateTimeField(auto_now_add=True)
    tx_hash = models.CharField(max_length=100, default="")
    chain_id = models.IntegerField(default=0)
    provider = models.CharField(max_length=100, default="")

    class Meta:
        managed = False
        db_table = "registry_humanpoints"


class QualifiedUser(models.Model):
    address = models.CharField(max_length=42)
    community = models.ForeignKey(Community, models.DO_NOTHING)

    class Meta:
        managed = False
        db_table = "registry_humanpointscommunityqualifiedusers"
