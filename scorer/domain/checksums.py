"""Mixed-case checksums of Ethereum addresses (EIP-55), and Keccak-256 for them.

hashlib has SHA-3 but not the Keccak padding that Ethereum uses, so the permutation is here. It runs once for a mixed-case address
(about 0.3 ms), never on the scoring path.
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
    """Return the 32-byte Keccak-256 digest of `data` (original padding, not SHA-3's)."""
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
    """Return True if `text` is forty hex digits in any letter case, with or without 0x."""
    return _ADDRESS.fullmatch(text) is not None


def with_checksum(address: str) -> str:
    """Return the EIP-55 spelling of an address in any spelling.

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
    """Return True if the strict endpoints accept `text`: an address whose letters are of one case or match the checksum.

    A mixed-case address without 0x is refused even if its digits match the checksum. Observed of the legacy.
    """
    if not has_address_form(text):
        return False
    digits = text[-40:]
    if digits in {digits.lower(), digits.upper()}:
        return True
    return text == with_checksum(text)
