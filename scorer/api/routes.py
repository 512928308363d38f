"""The table of routes, and its installation in an aiohttp router."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from scorer.api import (
    ceramic,
    embed,
    health,
    internal,
    models,
    openapi,
    screening,
    sign_in,
    stakes,
    stamps,
    tracked,
)
from scorer.api.auth import STRATEGIES, Auth

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class EndpointRoute:
    """One endpoint.

    Args:
        path: aiohttp pattern; `{name:[0-9]+}` where the legacy's router accepts only digits.
        tracked: calls are written to the API key analytics.
        keeps_response: the analytics include the response's body.
        v2: the route is not served while FF_V2_API is off.
        other_methods: methods answered in the same way.
    """

    method: str
    path: str
    auth: Auth
    handler: Handler
    tracked: bool = False
    keeps_response: bool = False
    v2: bool = False
    other_methods: tuple[str, ...] = ()


# Load balancers check with HEAD, and the legacy's check takes OPTIONS too.
_ALSO = ("HEAD", "OPTIONS")

ROUTES: tuple[EndpointRoute, ...] = (
    EndpointRoute("GET", "/health/", Auth.NONE, health.ok, other_methods=_ALSO),
    EndpointRoute("GET", "/health", Auth.NONE, health.ok, other_methods=_ALSO),
    EndpointRoute("GET", "/health/live", Auth.NONE, health.live, other_methods=_ALSO),
    EndpointRoute("GET", "/health/ready", Auth.NONE, health.ready, other_methods=_ALSO),
    # Scores and stamps.
    EndpointRoute(
        "GET",
        "/v2/stamps/{scorer_id:[^/]+}/score/{address:[^/]+}",
        Auth.KEY_ASYNC,
        stamps.score,
        tracked=True,
        keeps_response=True,
        v2=True,
    ),
    EndpointRoute(
        "GET",
        "/v2/stamps/{scorer_id:[^/]+}/score/{address:[^/]+}/history",
        Auth.KEY_SYNC,
        stamps.history,
        tracked=True,
        v2=True,
    ),
    EndpointRoute("GET", "/internal/score/v2/{scorer_id:[0-9]+}/{address:[^/]+}", Auth.INTERNAL, internal.score),
    EndpointRoute("POST", "/internal/embed/stamps/{address:[^/]+}", Auth.INTERNAL, embed.add_stamps),
    EndpointRoute("GET", "/internal/embed/score/{scorer_id:[0-9]+}/{address:[^/]+}", Auth.NONE, embed.score),
    EndpointRoute("POST", "/ceramic-cache/stamps/bulk", Auth.TOKEN, ceramic.add_stamps),
    EndpointRoute("PATCH", "/ceramic-cache/stamps/bulk", Auth.TOKEN, ceramic.replace_stamps),
    EndpointRoute("DELETE", "/ceramic-cache/stamps/bulk", Auth.TOKEN, ceramic.delete_stamps),
    EndpointRoute("GET", "/ceramic-cache/stamp", Auth.NONE, ceramic.stamps),
    EndpointRoute("GET", "/ceramic-cache/score/{address:[^/]+}", Auth.TOKEN, ceramic.score),
    EndpointRoute("POST", "/ceramic-cache/score/{address:[^/]+}", Auth.TOKEN, ceramic.rescore),
    # Answers of upstream services.
    EndpointRoute("GET", "/v2/stamps/metadata", Auth.KEY_SYNC, models.stamp_metadata, tracked=True, v2=True),
    EndpointRoute("GET", "/v2/models/score/{address:[^/]+}", Auth.KEY_ASYNC, models.score, v2=True),
    # After the fixed paths below /v2/stamps/. The older path is the target of the pages' links.
    EndpointRoute("GET", "/v2/stamps/{address:[^/]+}", Auth.KEY_SYNC, stamps.listing, tracked=True, v2=True),
    EndpointRoute("GET", "/registry/stamps/{address:[^/]+}", Auth.KEY_SYNC, stamps.listing, tracked=True),
    # For stamp issuers and other backends.
    EndpointRoute("POST", "/internal/check-bans", Auth.INTERNAL, screening.check_bans),
    EndpointRoute("POST", "/internal/check-revocations", Auth.INTERNAL, screening.check_revocations),
    EndpointRoute("GET", "/internal/stake/gtc/{address:[^/]+}", Auth.INTERNAL, stakes.gtc),
    EndpointRoute(
        "GET", "/internal/stake/legacy-gtc/{address:[^/]+}/{round_id:[0-9]+}", Auth.INTERNAL, stakes.legacy_gtc
    ),
    EndpointRoute("GET", "/registry/gtc-stake/{address:[^/]+}/{round_id:[0-9]+}", Auth.NONE, stakes.legacy_gtc),
    EndpointRoute("GET", "/internal/cgrants/contributor_statistics", Auth.INTERNAL, internal.contributor_statistics),
    EndpointRoute("GET", "/internal/allow-list/{list:[^/]+}/{address:[^/]+}", Auth.INTERNAL, internal.allow_list),
    EndpointRoute("GET", "/internal/customization/credential/{provider_id:[^/]+}", Auth.INTERNAL, internal.credential),
    EndpointRoute("GET", "/account/customization/credential/{provider_id:[^/]+}", Auth.NONE, internal.credential),
    # For the embed widget.
    EndpointRoute("GET", "/internal/embed/config", Auth.NONE, embed.config),
    EndpointRoute("GET", "/internal/embed/weights", Auth.NONE, embed.weights),
    EndpointRoute("GET", "/internal/embed/validate-api-key", Auth.KEY_SYNC, embed.validate_api_key),
    # For the Passport app.
    EndpointRoute("GET", "/account/nonce", Auth.NONE, sign_in.nonce),
    EndpointRoute("POST", "/ceramic-cache/authenticate/v2", Auth.NONE, sign_in.authenticate),
    EndpointRoute("PATCH", "/ceramic-cache/stamps/bulk/meta/compose-db", Auth.TOKEN, sign_in.report_saved),
    EndpointRoute("GET", "/ceramic-cache/weights", Auth.NONE, ceramic.own_weights),
    EndpointRoute("GET", "/ceramic-cache/stake/gtc", Auth.TOKEN, stakes.own_gtc),
    EndpointRoute(
        "GET", "/ceramic-cache/tos/accepted/{kind:[^/]+}/{address:[^/]+}", Auth.TOKEN, sign_in.terms_accepted
    ),
    EndpointRoute(
        "GET", "/ceramic-cache/tos/message-to-sign/{kind:[^/]+}/{address:[^/]+}", Auth.TOKEN, sign_in.terms_to_sign
    ),
    EndpointRoute(
        "POST", "/ceramic-cache/tos/signed-message/{kind:[^/]+}/{address:[^/]+}", Auth.TOKEN, sign_in.sign_terms
    ),
)


def install(app: web.Application, *, v2_enabled: bool) -> None:
    """Add the routes, and the description of them, to the app's router."""
    for route in ROUTES:
        if v2_enabled or not route.v2:
            for method in (route.method, *route.other_methods):
                app.router.add_route(method, route.path, _authenticated(route))
    app.router.add_route(openapi.OPENAPI_ROUTE.method, openapi.OPENAPI_ROUTE.path, openapi.handler_of(ROUTES))


def _authenticated(route: EndpointRoute) -> Handler:
    strategy = STRATEGIES[route.auth]
    handler = tracked.tracked(route.handler, keeps_response=route.keeps_response) if route.tracked else route.handler

    async def answer(request: web.Request) -> web.StreamResponse:
        await strategy(request)
        return await handler(request)

    return answer
