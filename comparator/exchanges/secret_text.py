r"""Replace secrets in text: values after the name of one, and values that look like one wherever they stand. Pure.

By name (`secret_names`), in any notation that puts a name before its value:

    a=1&password=hunter2        form and query            Referer: https://h/?api_key=k1      an address in any text
    ;token=abc                  matrix parameter, cookie  {"secret": "s", ...                 JSON, cut or inside of a text too
    <password>x</password>      XML                       name="token"\r\n\r\nabc\r\n--         a part of a multipart body

By value: JSON Web Tokens, PEM private keys, tokens of known issuers (`ghp_...`, `AKIA...`), credentials after `Bearer` and `Basic`, the
password of an address (`https://user:password@host`), and numbers of payment cards, by issuer prefix, length and Luhn's checksum.
"""

import base64
import binascii
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from comparator.exchanges.redacted_text import REDACTED_VALUE, without_tokens
from comparator.exchanges.secret_names import SecretNames, looks_random, words_of


class SecretKind(StrEnum):
    """The reason for taking a value for a secret."""

    NAMED = "named"
    """Its name, or a setting."""
    TOKEN = "token"  # noqa: S105 (a kind)
    """It is a JSON Web Token, or of a known issuer."""
    CREDENTIAL = "credential"
    """It stands after `Bearer` or `Basic`, or before the host of an address."""
    PRIVATE_KEY = "private key"
    CARD = "card number"
    UNREADABLE = "unreadable"
    """It cannot be decoded, so it may hold one."""


StandIn = Callable[[str, SecretKind, str], str]
"""Returns what replaces a value, given its kind and name; the name is "" for a value that was found by its looks."""

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_ISSUED: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/=]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[\w-]{35}|ya29\.[\w-]{20,}"
    r"|SG\.[\w-]{16,}\.[\w-]{16,}|npm_[A-Za-z0-9]{36}|pypi-[\w-]{40,}|sk-(?:ant-|proj-)?[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,})"
)
_SCHEME: Final = re.compile(r"(?i)\b(bearer|basic|token|apikey)((?:\s|%20|\+){1,4})([A-Za-z0-9+/=._~-]{8,})")
_USERINFO: Final = re.compile(r"(?<=://)([^\s/?#@:\"'<>]{0,256}):([^\s/?#@\"'<>]{1,256})(?=@)")
_CARD: Final = re.compile(r"(?<![\w.+-])(?:\d[ -]?){12,18}\d(?![\w-]|\.\d)")
_ISSUERS: Final = re.compile(
    r"4(?:.{12}|.{15}|.{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|(?:6011|65\d\d|64[4-9]\d)\d{12}|35\d{14}|3[068]\d{12}|62\d{14}"
)
_NAMED: Final = re.compile(
    r"(?:(?<![\w.%\[\]-])|(?<=%[0-9A-Fa-f]{2}))((?:(?!%3[AaDd])[\w.%\[\]-]){1,64}+)(\\{0,3}[\"']?\s{0,4}(?:[:=]|%3[AaDd])\s{0,4})(\\{0,3}[\"'])?"
)
_BARE: Final = re.compile(r"(?:(?!%26|%3[BbCc]|%2[27]|%0[AaDd])[^\s\"'&;,<>\\{}\[\]()#|])+")
_LINE: Final = re.compile(r"[^\r\n\"'<>&]+")
_ELEMENT: Final = re.compile(r"<([A-Za-z_][\w:.-]{0,63})(?:\s[^<>]{0,512})?>([^<]{1,4096})(?=</)")
_PART: Final = re.compile(
    r"(?i)content-disposition:[^\r\n]{0,256}?;\s{0,4}name=\"?([^\"\r\n;]{1,128})\"?[^\r\n]{0,512}(?:\r?\n[^\r\n]{1,1024}){0,16}\r?\n\r?\n(.*?)(?=\r?\n--|\Z)",
    re.DOTALL,
)
_VALUE_CHARS_MIN: Final = 13
"""No secret that is known by its looks is shorter, but for the password of an address; the shortest is the number of a card."""
_CLEAN_MAX: Final = 4_096
_CLEAN_CHARS_MAX: Final = 64
_WHOLE_LINE: Final = frozenset({"authorization", "cookie", "cookies"})
_NOT_SECRET: Final = frozenset({"null", "true", "false", "none", "undefined", ""})


class SecretText:
    """Replaces secrets in text.

    Args:
        names: judge names.
        stand_in: returns what replaces a value.
        values: whether values are recognised by their looks; names are in any case.
    """

    def __init__(self, names: SecretNames, stand_in: StandIn, *, values: bool = True) -> None:
        self.names = names
        self._stand_in = stand_in
        self._values = values
        # Texts that are known to hold no secret: constants, names and dates occur again and again. Of clients' making, so bounded.
        self._clean: set[str] = set()
        self._clean_values: set[str] = set()

    def clean(self, text: str) -> str:
        """Return a text without its secrets; the same object when it has none."""
        if text in self._clean:
            return text
        clean = text
        if "=" in clean or ":" in clean or "%3" in clean:
            clean = self._clean_named(clean)
        if "<" in clean and "</" in clean:
            clean = _ELEMENT.sub(self._element, clean)
        clean = self.clean_values(clean)
        if clean != text:
            return clean
        _remember(self._clean, text)
        return text

    def clean_values(self, text: str) -> str:
        """Return a text without what looks like a secret; the same object when there is nothing."""
        if not self._values or (len(text) < _VALUE_CHARS_MIN and "://" not in text) or text in self._clean_values:
            return text
        clean = text
        if "PRIVATE KEY" in clean:
            clean = _PRIVATE_KEY.sub(lambda match: self._stand_in(match[0], SecretKind.PRIVATE_KEY, ""), clean)
        clean = without_tokens(clean, lambda token: self._stand_in(token, SecretKind.TOKEN, ""))
        clean = _ISSUED.sub(lambda match: self._stand_in(match[0], SecretKind.TOKEN, ""), clean)
        clean = _SCHEME.sub(self._credential, clean)
        if "://" in clean:
            clean = _USERINFO.sub(self._userinfo, clean)
        clean = _CARD.sub(self._card, clean)
        if clean != text:
            return clean
        _remember(self._clean_values, text)
        return text

    def clean_multipart(self, text: str) -> str:
        """Return a multipart body without the values of parts that are secrets by name, or hold one."""

        def part(match: re.Match[str]) -> str:
            name, value = match[1], match[2]
            clean = self.named(name, value) if self.names.is_secret(name, value) else self.clean(value)
            return match[0][: match.start(2) - match.start()] + clean

        clean = _PART.sub(part, text)
        return clean if clean != text else self.clean_values(text)

    def named(self, name: str, value: str) -> str:
        """Return what replaces the value under a name; a value that was replaced before stays."""
        return value if REDACTED_VALUE.fullmatch(value) else self._stand_in(value, SecretKind.NAMED, name)

    def _clean_named(self, text: str) -> str:
        pieces: list[str] = []
        kept_to = 0
        for match in _NAMED.finditer(text):
            if match.start() < kept_to or not self.names[match[1]]:
                continue
            value_end = self._value_end(text, match)
            value = text[match.end() : value_end]
            plain = unquote(value) if "%" in value else value
            if value.lower() in _NOT_SECRET or REDACTED_VALUE.fullmatch(value) or not self._is_secret(match[1], plain):
                continue
            # (the digest of the decoded value: the same secret has the same digest however it was written)
            pieces += (text[kept_to : match.end()], self._stand_in(plain, SecretKind.NAMED, match[1]))
            kept_to = value_end
        return "".join([*pieces, text[kept_to:]]) if pieces else text

    def _is_secret(self, name: str, value: str) -> bool:
        # In running text (`token: see below`) a name that is only likely has to be followed by something of some length.
        return self.names.is_secret(name, value) and not value.startswith(("//", "*"))

    def _value_end(self, text: str, match: re.Match[str]) -> int:
        """Return where the value ends that begins behind the match: at its quote, else at the next separator."""
        quote = match[3]
        if quote:
            end = text.find(quote, match.end())
            while len(quote) == 1 and end > 0 and text[end - 1] == "\\":
                end = text.find(quote, end + 1)
            return end if end >= 0 else len(text)
        whole_line = ":" in match[2] and not _WHOLE_LINE.isdisjoint(words_of(match[1]))
        value = (_LINE if whole_line else _BARE).match(text, match.end())
        return value.end() if value else match.end()

    def _element(self, match: re.Match[str]) -> str:
        name, value = match[1].rpartition(":")[2], match[2]
        if not self.names.is_secret(name, value.strip()):
            return match[0]
        return match[0][: match.start(2) - match.start()] + self.named(name, value)

    def _credential(self, match: re.Match[str]) -> str:
        scheme, space, value = match.groups()
        if scheme.lower() == "basic":
            try:
                found = b":" in base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
            except (binascii.Error, ValueError):
                found = False
        else:
            found = any(map(str.isdigit, value)) and (looks_random(value) or scheme.lower() == "bearer")
        if not found or REDACTED_VALUE.fullmatch(value):
            return match[0]
        return f"{scheme}{space}{self._stand_in(value, SecretKind.CREDENTIAL, '')}"

    def _userinfo(self, match: re.Match[str]) -> str:
        if match[2].startswith("redacted"):
            return match[0]
        return f"{match[1]}:{self._stand_in(match[2], SecretKind.CREDENTIAL, '')}"

    def _card(self, match: re.Match[str]) -> str:
        return self._stand_in(match[0], SecretKind.CARD, "") if is_card_number(match[0]) else match[0]


def _remember(texts: set[str], text: str) -> None:
    if len(text) <= _CLEAN_CHARS_MAX:
        if len(texts) >= _CLEAN_MAX:
            texts.clear()
        texts.add(text)


def is_card_number(text: str) -> bool:
    """Return whether a text of digits, with single spaces or dashes, is the number of a payment card: by prefix, length, checksum."""
    digits = re.sub(r"[ -]", "", text)
    if not _ISSUERS.fullmatch(digits):
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0
