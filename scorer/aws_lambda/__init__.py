"""The scorer as an AWS Lambda function, behind an Application Load Balancer, an API Gateway or a function URL.

`handler` is what Lambda calls (`scorer.aws_lambda.handler.handler`): it starts the same application that `python -m scorer serve` serves, and sends it
each event as an HTTP request. `events` translates events to requests and responses to results; it does no I/O.
"""
