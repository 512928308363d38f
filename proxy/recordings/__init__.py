"""Traffic files: reads recordings of other programs, and writes exchanges in their formats.

    file --recording_file--> lines or bytes --<format>.parse--> RecordedExchange | MalformedRecord | SkippedRecord --counts--> ReadCounts
    RecordedExchange --<format>.dump--> bytes

`reader.read` opens a recording and detects its format; a folder is a journal, which `journal` reads. Each format is one pure module:
`gor` (GoReplay), `har`, `mitmproxy`, `envoy` (tap), `vegeta`, `ndjson` (our own), `alb` and `combined` (access logs). No format module
imports another; what several need is in `model`. `counts` counts the records by what they are: requests, cut, not HTTP, malformed (pure).

To add a format, write its module with `parse`, `matches` and, where it can be written, `dump`; then add a row to FORMATS in `formats`.
Detection, `--format`, `shadow journal export --to` and the tests of every format follow from the row.
"""
