"""The HTTP layer: parse the request, call one workflow, build the response. No scoring rules and no SQL here.

A request passes
    `middleware.outermost`   request id, Host check, CORS preflight, admission, metrics, errors to responses (`responses`)
    `auth`                   one strategy for each auth kind; sets `request[API_KEY]` or `request[TOKEN_ADDRESS]`
    the handler              at most 10 lines: read path, query, body (`validation`), call one workflow, `responses.json_response`

Conventions
    - `routes.ROUTES` is the one table: method, path, auth kind, handler, tracked. Nothing registers itself on import.
    - A handler is `async def name(request: web.Request) -> web.Response`, in the module of its endpoint group (`stamps`, `models`,
      `embed`, `internal`, `screening`, `stakes`, `ceramic`, `sign_in`, `health`). The order of checks is the legacy's:
      authentication (before the handler), then path, query and body validation, then everything else.
    - Values that live as long as the app are `web.AppKey`s in `context`; those of one request are `web.RequestKey`s there.
    - Errors are raised (`scorer.errors`) and become responses by one table, `responses.STATUS_OF_ERROR`.
    - Response bodies are dicts in the key order of the API (`bodies`); `responses.json_response` writes them in the legacy's format.
    - Request bodies are schemas (`wire`). `openapi` describes the API from routes, schemas and `operations`.
    - Path segments that the legacy reads with an int converter are `{name:[0-9]+}`; text segments are `{name}`.
"""
