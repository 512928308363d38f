"""The scorer as a Lambda function: in a process of AWS's own runtime client, and beside the server."""

import json
from typing import Any

import pytest

from scorer.aws_lambda.handler import started
from scorer.errors import ScorerSettingsError
from tests.support import scoring
from tests.support.lambda_runtime import FunctionError, lambda_runtime
from tests.support.scoring import KEY, address

A = address(0xA)
ELB = {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1"}}


def event(path: str, method: str = "GET", body: str = "", **headers: str) -> dict[str, Any]:
    named = {"host": "api.example", "x-api-key": KEY, **headers}
    return {
        "requestContext": ELB,
        "httpMethod": method,
        "path": path,
        "queryStringParameters": {},
        "headers": named,
        "body": body,
        "isBase64Encoded": False,
    }


def environment(dsn: str, **more: str) -> dict[str, str]:
    return {
        "DATABASE_URL": dsn,
        "TRUSTED_IAM_ISSUERS": json.dumps([scoring.ISSUER.did]),
        "CGRANTS_API_TOKEN": scoring.INTERNAL_TOKEN,
        **more,
    }


async def test_function_scores_stores_and_goes_on_after_what_is_no_request(migrated, world):
    await world.stamp(A, "Google", ["v0:1"])
    await world.stamp(A, "Github", ["v0:2"])
    path = f"/v2/stamps/1/score/{A}"
    async with lambda_runtime(environment(migrated, FF_API_ANALYTICS="on")) as function:
        first = await function.invoke(event(path))
        assert (first["statusCode"], first["statusDescription"], first["isBase64Encoded"]) == (200, "200 OK", False)
        assert json.loads(first["body"])["score"] == "3.00000"
        assert first["headers"]["Content-Type"].startswith("application/json")
        assert "Transfer-Encoding" not in first["headers"]
        # The analytics are stored before the result, since the environment is frozen after it.
        assert await world.count("account_accountapikeyanalytics") == 1

        with pytest.raises(FunctionError, match="no object 'requestContext'"):
            await function.invoke({"source": "aws.events"})
        assert (await function.invoke(event(path, **{"x-api-key": "wrong.key"})))["statusCode"] == 401
        assert (await function.invoke(event("/nowhere")))["statusCode"] == 404
        posted = await function.invoke(event("/internal/check-bans", "POST", "{", authorization=scoring.INTERNAL_TOKEN))
        assert posted["statusCode"] in {400, 422}
        refused = await function.invoke(event(path, **{"x-odd": "a\r\nb"}))
        assert (refused["statusCode"], json.loads(refused["body"])) == (400, {"detail": "Bad request."})
        assert json.loads((await function.invoke(event(path)))["body"])["score"] == "3.00000"


async def test_function_and_server_respond_alike(migrated, world, serve):
    await world.stamp(A, "Google", ["v0:1"])
    server = await serve(scoring.settings(migrated))
    async with lambda_runtime(environment(migrated)) as function:
        for path in (f"/v2/stamps/1/score/{A}", f"/v2/stamps/{A}", "/v2/stamps/9/score/0x1", "/health/", "/v2/%zz"):
            result = await function.invoke(event(path))
            async with server.get(path, headers={"X-API-Key": KEY, "Host": "api.example"}) as response:
                assert result["statusCode"] == response.status
                told = json.loads(result["body"]) if path.startswith("/v2/stamps") else result["body"]
                served = await response.json() if path.startswith("/v2/stamps") else await response.text()
                for body in (told, served):
                    if isinstance(body, dict):
                        body.pop("last_score_timestamp", None)
                assert told == served
                names = {name.lower() for name in response.headers} - {"content-length", "connection"}
                assert {name.lower() for name in result["headers"]} == names


async def test_request_that_outlasts_the_function_is_answered_504(migrated, world):
    await world.stamp(A, "Google", ["v0:1"])
    await world.conn.execute("BEGIN")
    await world.conn.execute("LOCK TABLE registry_passport")
    async with lambda_runtime(environment(migrated), deadline_s=2.0) as function:
        result = await function.invoke(event(f"/v2/stamps/1/score/{A}"))
        assert result["statusCode"] == 504
        assert "longer than the function may run" in json.loads(result["body"])["detail"]
        await world.conn.execute("ROLLBACK")
        assert (await function.invoke(event("/health/")))["statusCode"] == 200


async def test_wrong_environment_ends_the_function_with_its_reason(migrated):
    async with lambda_runtime({**environment(migrated), "SCORER_POOL_MAX": "many"}) as function:
        with pytest.raises(FunctionError, match="SCORER_POOL_MAX is not a whole number"):
            await function.invoke(event("/health/"))


def test_rate_limits_need_a_store_that_environments_share(tmp_path):
    with pytest.raises(ScorerSettingsError, match="RATELIMIT_ENABLE needs SCORER_REDIS_URL"):
        started({"DATABASE_URL": "postgresql://nowhere", "RATELIMIT_ENABLE": "true"}, tmp_path)
