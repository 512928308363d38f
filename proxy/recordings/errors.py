"""The error of recordings. A single malformed record is a value, `proxy.recordings.model.MalformedRecord`."""

from proxy.errors import ProxyError


class RecordingError(ProxyError):
    """A recording cannot be opened, or is not in its format; the message names the recording and the place."""
