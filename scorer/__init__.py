"""The new Passport scorer: the legacy API over the legacy tables.

Layers, outermost first; each imports only those below it (import-linter checks it):
    `serving`, `platform_sync`, `population`   the commands
    `aws_lambda/`                              the same app as a function of AWS Lambda
    `app`                                      the composition root
    `api/`                                     HTTP: routes, validation, responses
    `services`                                 what lives as long as the app
    `workflows/`                               one function a request, one transaction each
    `credentials`, `tokens`, `signatures`, `upstreams`, `limiter`, `tracking`   one foreign library or service each
    `db/`                                      SQL
    `domain/`                                  the rules: pure, standard library only

`credentials` is the only module that imports didkit, `tokens` pyjwt, `signatures` eth-account, `shared_store` redis, `tracing`
OpenTelemetry. `caches` keeps metadata and weights in the shared store. `settings` reads the environment, `logs` writes JSON lines,
`metrics` declares every metric. The errors that mean an unavailable database are in `db.pool`.
"""
