"""Builder of exchanges with valid defaults."""

from comparator.exchanges.model import Exchange, Failed, HeaderList, Request, Response, Side

HEADERS: HeaderList = (("Host", "api.example"), ("Accept", "*/*"))


def exchange(
    id: str = "id-1",  # noqa: A002 (the field's name)
    *,
    key: str = "0xab",
    target: str = "/v2/stamps/3/score/0xab",
    headers: HeaderList = HEADERS,
    body: bytes = b"",
    outcome: Response | Failed | None = None,
    ended_ns: int = 2_000,
) -> Exchange:
    """Return an exchange with these values."""
    return Exchange(
        id=id,
        route="score",
        key=key,
        served_by=Side.CANDIDATE,
        stage="candidate_100",
        started_ns=1_000,
        ended_ns=ended_ns,
        request=Request("GET", target, headers, body),
        outcome=outcome or Response(200, (("Content-Type", "application/json"),), b'{"score":"1"}'),
    )
