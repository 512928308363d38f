"""One row per authenticated call with an API key, when FF_API_ANALYTICS is on."""

import json

from tests.legacy.models import Analytics, ApiKey

MASKED = {"X-Api-Key", "Authorization", "Cookie"}


def record(request, key: ApiKey, *, status: int, body: dict | None, error: str | None) -> None:
    """Write the row; the response is stored as JSON text inside a JSON string, null if the call failed."""
    headers = {name: "***" if name in MASKED else value for name, value in request.headers.items()}
    Analytics.objects.create(
        api_key=key,
        path=request.path,
        path_segments=request.path.split("/")[1:],
        query_params={name: request.GET.getlist(name) for name in request.GET},
        headers={
            name: value for name, value in headers.items() if value or name not in {"Content-Length", "Content-Type"}
        },
        response=None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False),
        response_skipped=False,
        error=error,
        status_code=status,
    )
