"""Tell by its meaning whether a name (of a header, parameter, member, field or column) is that of a secret. Pure.

A name is split into words, so case, `-`, `_` and camel case do not matter:

    X_Api_Key, Api-Key, xApiKey    api key            SURE      whatever the value is
    token, X-Auth-Token            token              LIKELY    a text or a number; an object below it is searched as any other
    key, sid, code                 key                POSSIBLE  a text that looks random
    token_address, next_page_token, max_tokens, public_key, password_changed_at: none
"""

import re
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from math import log2
from typing import Final
from urllib.parse import unquote_plus

NAMES_MAX: Final = 4096
NAME_MAX: Final = 128


class Certainty(IntEnum):
    """The claim that a name makes about its value.

    Attributes:
        NONE: nothing.
        POSSIBLE: the value is a secret if it looks random.
        LIKELY: the value is a secret if it is a text or a number.
        SURE: the value is a secret, with everything in it.
    """

    NONE = 0
    POSSIBLE = 1
    LIKELY = 2
    SURE = 3


_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SURE: Final = re.compile(
    "passwords?|passwd|passphrase|passcode|apikeys?|(?:access|secret|private|signing|encryption|master|account|subscription|functions|ssh)keys?"
    "|clientsecret|connectionstring|securitycode|(?:card|pan)number|cardno|(?:recovery|backup|authorization)codes?"
    "|j?sessionid|phpsessid|sessid|(?:access|refresh|auth|session|id|bearer|api|csrf[a-z]{0,16}|xsrf|reset|security)tokens?"
)
"""Of the words written together, anywhere in them."""
_SURE_WORDS: Final = frozenset({"pwd", "secret", "secrets", "authorization", "cookie", "cookies", "ssn"})
_SURE_LAST: Final = frozenset({"pin", "otp", "totp", "cvv", "cvc", "jwt", "bearer"})
_LIKELY_WORDS: Final = frozenset({"token", "credential", "credentials"})
_LIKELY_LAST: Final = frozenset({"pass", "auth"})
_POSSIBLE_WORDS: Final = frozenset({"key", "auth", "session", "sid", "sig", "tokens", "nonce", "signature"})
_POSSIBLE_LAST: Final = frozenset({"code"})
_ABOUT: Final = re.compile(
    "address|alg|algorithm|amount|at|balance|changed|contract|count|created|decimals|enabled|endpoint|expired"
    "|expires|expiration|expiry|format|header|hint|id|ids|in|length|limit|max|method|min|name|names|policy|present"
    "|price|remaining|required|rules|set|size|standard|status|strength|supply|symbol|type|types|updated|uri|url"
    "|usage|used|valid|version"
)
"""Last words of names that say something about a secret, and do not hold it: `token_type`, `password_changed_at`."""
_OTHER_TOKENS: Final = re.compile(
    "page|next|prev|previous|continuation|sync|cursor|start|max|min|total|num|input|output|prompt|completion|native"
    "|base|quote"
)
_OTHER_KEYS: Final = re.compile(
    "public|primary|foreign|idempotency|partition|sort|routing|cache|surrogate|ordering|natural|unique|object"
    "|websocket|s3|order|group|socket"
)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{16,}")
_IDENTIFIER: Final = re.compile(
    r"0[xX][0-9a-fA-F]*|[0-9.+-]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\d{4}-\d\d-\d\d[T ].*"
)
_ENTROPY_MIN: Final = 3.0
"""Bits per character; English text of this length has fewer digits, and hexadecimal digits have at most 4."""


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name, in lower case; percent-encoding is decoded."""
    plain = unquote_plus(name) if "%" in name or "+" in name else name
    return tuple(word.lower() for word in _WORD.findall(plain))


def certainty_of(name: str) -> Certainty:
    """Return how much a name says about its value, without any setting."""
    words = words_of(name)
    if not words:
        return Certainty.NONE
    last = words[-1] if not words[-1].isdigit() or len(words) == 1 else words[-2]
    joined = "".join(words)
    sure = [match.end() for match in _SURE.finditer(joined)]
    if _ABOUT.fullmatch(last) and len(joined) not in sure:
        return Certainty.NONE
    if sure or last in _SURE_LAST or not _SURE_WORDS.isdisjoint(words):
        return Certainty.SURE
    if not _LIKELY_WORDS.isdisjoint(words):
        return Certainty.NONE if "token" in words and any(map(_OTHER_TOKENS.fullmatch, words)) else Certainty.LIKELY
    if last in _LIKELY_LAST:
        return Certainty.LIKELY
    if last in _POSSIBLE_LAST or not _POSSIBLE_WORDS.isdisjoint(words):
        return Certainty.NONE if "key" in words and any(map(_OTHER_KEYS.fullmatch, words)) else Certainty.POSSIBLE
    return Certainty.NONE


def looks_random(value: str) -> bool:
    """Return whether a text looks like a generated secret: long, of letters and digits, and no number, address, UUID or time."""
    if not _RANDOM.fullmatch(value) or _IDENTIFIER.fullmatch(value):
        return False
    if not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * log2(n / len(value)) for n in counts.values()) >= _ENTROPY_MIN


class SecretNames(dict[str, Certainty]):
    """The certainty of each name under some settings. A dict, since a hit is then one lookup.

    Names are clients' to choose: at most NAMES_MAX are kept, none longer than NAME_MAX.

    Args:
        declared: names that are SURE; compared by their words.
        exempt: names that are NONE.
        recognize: whether other names are judged by their meaning.
    """

    def __init__(self, declared: Iterable[str] = (), exempt: Iterable[str] = (), *, recognize: bool = True) -> None:
        super().__init__()
        self._declared = frozenset(map(words_of, declared)) - {()}
        self._exempt = frozenset(map(words_of, exempt)) - {()}
        self._recognize = recognize

    def __missing__(self, name: str) -> Certainty:
        certainty = self._judge(name)
        if len(self) >= NAMES_MAX:
            self.clear()
        if len(name) <= NAME_MAX:
            self[name] = certainty
        return certainty

    def _judge(self, name: str) -> Certainty:
        words = words_of(name[:NAME_MAX])
        if words in self._declared:
            return Certainty.SURE
        if words in self._exempt or not self._recognize:
            return Certainty.NONE
        return certainty_of(name[:NAME_MAX])

    def is_exempt(self, name: str) -> bool:
        """Return whether a setting says that values of this name are not secrets."""
        return bool(self._exempt) and words_of(name[:NAME_MAX]) in self._exempt

    def is_secret(self, name: str, value: object) -> bool:
        """Return whether the value under this name is a secret: of a text, number or, below a SURE name, anything that is not empty."""
        certainty = self[name]
        if not certainty or value is None or isinstance(value, bool) or value in ("", "null", "true", "false", "None"):
            return False
        match certainty:
            case Certainty.SURE:
                return True
            case Certainty.LIKELY:
                return not isinstance(value, dict | list | tuple)
            case _:
                return isinstance(value, str) and looks_random(value)
