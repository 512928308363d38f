"""Bring names of columns, parameters and members into one notation. Pure.

customerId, customer-id, CustomerID    customer_id
customers, categories, addresses       customer, category, address    (singular)
"""

import re
from typing import Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_UNCHANGED: Final = ("ss", "us", "is")


def snake_case(name: str) -> str:
    """Return the words of a name in lower case, with `_` between them."""
    return "_".join(word.lower() for word in _WORD.findall(name))


def singular(name: str) -> str:
    """Return an English plural in the singular, anything else as it is."""
    if name.endswith("ies") and len(name) > 4:
        return name[:-3] + "y"
    if name.endswith(("sses", "xes", "ches", "shes")):
        return name[:-2]
    if name.endswith("s") and not name.endswith(_UNCHANGED) and len(name) > 3:
        return name[:-1]
    return name


def entity_of(table: str) -> str:
    """Return the thing that a table's rows are: `customer` for `shop.customers`."""
    return singular(snake_case(table.rpartition(".")[2].strip('"')))
