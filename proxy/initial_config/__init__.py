"""Propose a config.yaml for an API: what `shadow init` writes.

    databases ----> fact_reading ---> table_facts --+--> table_proposal --+
    OpenAPI ------> openapi ----------+             |                     +--> config_text --> config.yaml
    recordings ---> observed_traffic -+-> operations +--> key_proposal ---+
                                                    +--> route_proposal --+

- `fact_reading`: reads tables, defaults, triggers and counts of writes from a database. The only module with I/O.
- `table_facts`: what the proposals need to know of a table.
- `operations`: one method on one path template, and the names of what its requests carry.
- `openapi`: operations of an OpenAPI document, version 2 or 3.
- `observed_traffic`: operations of recorded requests, whose paths are made templates.
- `names`: names in one notation, so that `customerId`, `customer_id` and `/customers/{id}` can be seen to mean the same.
- `key_proposal`: whom the requests are about: the key that most requests and rows carry.
- `table_proposal`: natural keys, references, volatile columns and keys of each table.
- `route_proposal`: routes with methods and keys, and rules for their responses.
- `config_text`: the commented text, each line with why, and what is left to decide.
"""
