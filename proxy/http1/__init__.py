"""HTTP/1.1 messages: parse, cache and serialize heads. Pure."""
