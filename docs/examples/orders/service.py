"""An API with two implementations, for docs/getting-started.md: `service.py legacy|candidate PORT`, with DATABASE_URL set.

Both answer alike. The candidate rounds loyalty points up where the legacy rounds down, which no response shows.
"""

import os
import sys

import asyncpg
from aiohttp import web

POOL = web.AppKey("pool", asyncpg.Pool)
CANDIDATE = web.AppKey("candidate", bool)


async def health(_: web.Request) -> web.Response:
    """Answer the proxy's health checks."""
    return web.json_response({"status": "ok"})


async def list_orders(request: web.Request) -> web.Response:
    """Return the orders of a customer."""
    rows = await request.app[POOL].fetch(
        "SELECT id, item, quantity, created_at FROM orders WHERE customer = $1 ORDER BY id",
        request.match_info["customer"],
    )
    return web.json_response([dict(row) | {"created_at": row["created_at"].isoformat()} for row in rows])


async def place_order(request: web.Request) -> web.Response:
    """Store an order and add a loyalty point for every ten pieces."""
    customer, order = request.match_info["customer"], await request.json()
    quantity = int(order["quantity"])
    points = -(-quantity // 10) if request.app[CANDIDATE] else quantity // 10
    async with request.app[POOL].acquire() as conn, conn.transaction():
        number = await conn.fetchval(
            "INSERT INTO orders (customer, item, quantity) VALUES ($1, $2, $3) RETURNING id",
            customer,
            order["item"],
            quantity,
        )
        await conn.execute(
            "INSERT INTO loyalty AS l (customer, points) VALUES ($1, $2) "
            "ON CONFLICT (customer) DO UPDATE SET points = l.points + excluded.points",
            customer,
            points,
        )
    return web.json_response({"id": number, "item": order["item"], "quantity": quantity}, status=201)


async def main(variant: str) -> web.Application:
    """Return the application of a variant, connected to DATABASE_URL."""
    app = web.Application()
    app[CANDIDATE] = variant == "candidate"
    app[POOL] = await asyncpg.create_pool(os.environ["DATABASE_URL"])
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/customers/{customer}/orders", list_orders),
            web.post("/customers/{customer}/orders", place_order),
        ]
    )
    return app


if __name__ == "__main__":
    web.run_app(main(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), print=None)
