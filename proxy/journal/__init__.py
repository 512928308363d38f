"""The journal: every served exchange on disk, appended without making a client wait, read by named consumers at their own pace.

    serving --append--> JournalWriter: bounded queue, one thread --frames--> <directory>/<writer>/<first sequence>.seg
                                                                                        |
    shadow runner, calibrate <--JournalEntry-- JournalReader(name) <--------------------+   offsets in <directory>/readers/<name>.json

The seam: `driver` has the interface of writers and readers, `registry` opens them from the settings. Nothing outside of this folder
imports a concrete reader or writer; `shadow journal` and `proxy.recordings.journal`, which look into the files, import `segments`.

Segment files: `segment_writer` with its `queue`, `batch` and `fast_encoder`; `segment_reader` with its `frame_cursor`; `segments`
(files, frames, offsets), `format` (bytes, pure), `sealing` (encrypted frames, pure), `retention`, `rewriting` (with another key) and
`key_usage`. Of any driver: `served_exchange` (what is appended), `redaction` (secrets, pure) and `keys`. `offer_mark` keeps how many exchanges a writer was offered in memory that outlives it, and `reconciliation`
(pure) holds the numbers of writers, runner and store against each other. `writer_sessions` tells when a process of the proxy was killed, and
`writer_progress` up to which time a reader has returned every exchange: requests beyond it may have written, and are not known.

Of several machines the segment files are the spool: `shipper` sends their frames to a `broker` (the interface; `valkey_broker` is the
driver), and `shared_reader` reads them back, merged by `time_merge` (pure). `delivery` opens and numbers what any reader returns.

An exchange's way to the disk: `append_served` puts it on the queue; 32 of them are encoded by `fast_encoder` and compressed on the
event loop, and the thread seals and writes them as a frame. An exchange out of the ordinary (long values, other text than ASCII) is
encoded by the thread, with the same bytes as result. In mode `digest` the thread redacts and encodes all of them.
"""
