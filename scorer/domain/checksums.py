"""Mixed-case checksums of Ethereum addresses (EIP-55) and the Keccak-256 they need.

Decides two things: whether a text is an address that the strict endpoints take, and how an address is written for the model
services and for sign-in messages. hashlib has SHA-3 but not the Keccak padding that Ethereum uses, so the permutation is here;
it runs once for a mixed-case address (about a third of a millisecond), never on the scoring path.
"""

import re

_RATE_BYTES = 136
_LANE = (1 << 64) - 1
_ADDRESS = re.compile(r"(?:0x)?[0-9a-f]{40}", re.IGNORECASE | re.ASCII)

# The round constants come from the 8-bit shift register of FIPS 202, section 3.2.5.
_ROUNDS = 24


def _round_constants() -> tuple[int, ...]:
    register = 1
    constants: list[int] = []
    for _ in range(_ROUNDS):
        constant = 0
        for power in range(7):
            if register & 1:
                constant |= 1 << ((1 << power) - 1)
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        constants.append(constant)
    return tuple(constants)


def _rotations() -> tuple[int, ...]:
    offsets, x, y = [0] * 25, 1, 0
    for step in range(_ROUNDS):
        offsets[x + 5 * y] = ((step + 1) * (step + 2) // 2) % 64
        x, y = y, (2 * x + 3 * y) % 5
    return tuple(offsets)


_CONSTANTS = _round_constants()
_OFFSETS = _rotations()


def _rotate(lane: int, by: int) -> int:
    return ((lane << by) | (lane >> (64 - by))) & _LANE if by else lane


def _permute(lanes: list[int]) -> list[int]:
    for constant in _CONSTANTS:
        columns = [lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20] for x in range(5)]
        mixed = [columns[(x - 1) % 5] ^ _rotate(columns[(x + 1) % 5], 1) for x in range(5)]
        moved = [0] * 25
        for index in range(25):
            x, y = index % 5, index // 5
            moved[y + 5 * ((2 * x + 3 * y) % 5)] = _rotate(lanes[index] ^ mixed[x], _OFFSETS[index])
        lanes = [
            moved[i] ^ (~moved[(i % 5 + 1) % 5 + i // 5 * 5] & moved[(i % 5 + 2) % 5 + i // 5 * 5] & _LANE)
            for i in range(25)
        ]
        lanes[0] ^= constant
    return lanes


def keccak_256(data: bytes) -> bytes:
    """The 32-byte Keccak-256 digest of `data` (the original padding, not that of SHA-3)."""
    padding = bytearray(_RATE_BYTES - len(data) % _RATE_BYTES)
    padding[0] |= 0x01
    padding[-1] |= 0x80
    padded = data + bytes(padding)
    lanes = [0] * 25
    for start in range(0, len(padded), _RATE_BYTES):
        for lane in range(_RATE_BYTES // 8):
            lanes[lane] ^= int.from_bytes(padded[start + 8 * lane : start + 8 * lane + 8], "little")
        lanes = _permute(lanes)
    return b"".join(lane.to_bytes(8, "little") for lane in lanes[:4])


def has_address_form(text: str) -> bool:
    """Whether `text` is forty hex digits with or without 0x, whatever their case."""
    return _ADDRESS.fullmatch(text) is not None


def with_checksum(address: str) -> str:
    """The EIP-55 spelling of an address; any spelling goes in.

    Raises:
        ValueError: `address` does not have the form of an address.
    """
    if not has_address_form(address):
        raise ValueError(address)
    digits = address[-40:].lower()
    digest = keccak_256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, digest, strict=False)
    )


def is_address(text: str) -> bool:
    """Whether the strict endpoints take `text`: an address whose letters are of one case or follow the checksum.

    A mixed-case address without 0x is refused even when its digits follow the checksum. Observed of the legacy.
    """
    if not has_address_form(text):
        return False
    digits = text[-40:]
    if digits in {digits.lower(), digits.upper()}:
        return True
    return text == with_checksum(text)
