"""A shop in two versions, for docs/getting-started.md: Flask, SQLAlchemy and PostgreSQL.

`python shop.py` creates the tables in DATABASE_URL; `VARIANT=legacy gunicorn shop:app` serves. Both versions answer alike. The candidate
rounds loyalty points up where the legacy rounds down, which no response shows.
"""

import os
from datetime import UTC, datetime

from flask import Flask, Response, jsonify, request
from sqlalchemy import DateTime, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

ROUNDS_UP = os.environ.get("VARIANT") == "candidate"
engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1))
app = Flask(__name__)


class Base(DeclarativeBase):
    """The tables."""


class Order(Base):
    """An order of a customer."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer: Mapped[str]
    item: Mapped[str]
    quantity: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=lambda: datetime.now(UTC))


class Loyalty(Base):
    """The loyalty points of a customer: one for every ten pieces."""

    __tablename__ = "loyalty"
    customer: Mapped[str] = mapped_column(primary_key=True)
    points: Mapped[int]


@app.get("/health")
def health() -> Response:
    """Answer health checks."""
    return jsonify(status="ok")


@app.get("/customers/<customer>/orders")
def list_orders(customer: str) -> Response:
    """Return the orders of a customer."""
    with Session(engine) as session:
        orders = session.scalars(select(Order).where(Order.customer == customer).order_by(Order.id))
        return jsonify(
            [
                {"id": one.id, "item": one.item, "quantity": one.quantity, "created_at": one.created_at.isoformat()}
                for one in orders
            ]
        )


@app.post("/customers/<customer>/orders")
def place_order(customer: str) -> tuple[Response, int]:
    """Store an order and its loyalty points."""
    wanted = request.get_json(force=True)
    quantity = int(wanted["quantity"])
    points = -(-quantity // 10) if ROUNDS_UP else quantity // 10
    with Session(engine) as session:
        order = Order(customer=customer, item=wanted["item"], quantity=quantity)
        account = session.get(Loyalty, customer) or Loyalty(customer=customer, points=0)
        account.points += points
        session.add_all([order, account])
        session.commit()
        return jsonify(id=order.id, item=order.item, quantity=order.quantity), 201


if __name__ == "__main__":
    Base.metadata.create_all(engine)
