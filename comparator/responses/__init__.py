"""Compare two HTTP responses: status, headers and body. Pure."""
