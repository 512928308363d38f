"""HTTP: parse, call one workflow, response. Nothing here decides about scores and nothing here writes SQL.

How a request flows
    `middleware.outermost`   request id, host check, CORS preflight, admission, metrics, errors to responses (`responses`)
    `auth`                   one strategy an auth kind; what it finds is `request[API_KEY]` or `request[TOKEN_ADDRESS]`
    handler                  at most 10 lines: read path, query, body (`validation`), call one workflow, `responses.json_response`

Conventions
    - `routes.ROUTES` is the one table: method, path, auth kind, handler, tracked. Nothing registers itself on import.
    - A handler is `async def name(request: web.Request) -> web.Response`, in the module of its area (`stamps`, `embed`,
      `internal`, `ceramic`, `models`, `health`). The order is that of the legacy: authentication (before the handler), then
      path, query and body validation, then everything else.
    - Values that live as long as the app are `web.AppKey`s in `context`; those of one request are `web.RequestKey`s there.
    - Errors are raised (`scorer.errors`) and become responses in one table, `responses.STATUS_OF_ERROR`.
    - Bodies are built as dicts in the key order of the API; `responses.json_response` writes them in the legacy's format.
    - Path segments that the legacy reads with an int converter are `{name:[0-9]+}`; text segments are `{name}`.
"""
