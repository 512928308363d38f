"""A zoo of schemas: row effects are exact on every shape of table that PostgreSQL allows, or the table is refused by name.

`shape` defines a shape as data, `shapes` holds them by subject (`one_table` makes most of them), `inventory` lists all. `lab` runs shapes on
real databases, with the real runner, capture, row writer and clone, and HTTP requests to the generic instances of `service`; `visits` lists
the requests that each shape gets, and `oracle` judges what came of them. `clusters` starts the PostgreSQL versions that this machine has.

`generated_schema` draws random schemas, with random transactions and migrations, and `generated_run` holds the verdicts against a control
database that the product never sees.

`test_slice` visits every shape once and `test_generated` works on ten generated schemas; `make zoo` does it all. What is not exact, because
nothing could tell: a mirrored request reads rows that a job wrote a moment later than the served one did.
"""
