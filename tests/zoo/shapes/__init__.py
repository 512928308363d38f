"""The shapes, by subject: `keys`, `constraints`, `values`, `triggers`, `storage`, `transactions`; `tests.zoo.inventory` lists them all."""
