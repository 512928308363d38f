"""A zoo of schemas: row effects are exact on every shape of table that PostgreSQL allows, or refused by name.

`shape` defines a shape as data and `shapes` holds them, by subject. `lab` runs shapes on real databases, with the real runner, capture,
row writer and clone, and HTTP requests; `visits` lists the requests that each shape gets and what must come of them. `clusters` starts
the PostgreSQL versions that this machine has. `test_slice` visits every shape once; `make zoo` visits each on every driver and version.
"""
