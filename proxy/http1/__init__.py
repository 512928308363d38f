"""HTTP/1.1 messages: parse, cache and serialize heads. Pure: bytes in, values out, no I/O and no clock.

    bytes of a head ──> head_cache ──(miss)──> parser ──> RequestHead / ResponseHead
                            │(hit: no parsing)                 │ = HeadTemplate + values of its slots
                            └──────────────────────────────────┤
    bytes to send <── serializer <── forwarding_headers <──────┘

`fields` has the grammar of one header field and the lists of fields that stop at this hop; `head_template` what many heads have in
common; `error_responses` the responses that the proxy makes itself.
"""
