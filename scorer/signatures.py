"""Verify the signatures of sign-in messages. The only module that imports eth-account, which the first sign-in loads.

The signer of an externally owned account is recovered from the signature (EIP-191). A contract wallet is called itself (ERC-1271),
through an Ethereum node and only if one is configured; a wallet that is not deployed yet sends its deployment with the signature
(ERC-6492), which the node simulates in the same call.
"""

import sys
from typing import Any

import aiohttp

from scorer.domain.checksums import keccak_256
from scorer.metrics import Metrics

_DEPLOYMENT_MAGIC = bytes.fromhex("6492" * 16)
_IS_VALID_SIGNATURE = bytes.fromhex("1626ba7e")
# Multicall3 has the same address on every chain; its aggregate3 runs calls in order and reports the success of each.
_MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11"
_AGGREGATE_CALLS = bytes.fromhex("82ad56cb")
_TIMEOUT_S = 5.0
_SIGNATURE_MAX = 20_000


def recover_signer(text: str, signature: str) -> str | None:
    """Return the address (lower case) whose key signed `text` as a personal message, or None if the signature is malformed."""
    limit = sys.getrecursionlimit()
    from eth_account import Account  # noqa: PLC0415 - see the module's docstring.
    from eth_account.messages import encode_defunct  # noqa: PLC0415

    # Loading eth-account raises the limit so far that a deeply nested request body could overflow the process's stack.
    sys.setrecursionlimit(limit)
    try:
        return str(Account.recover_message(encode_defunct(text=text), signature=signature)).lower()
    except Exception:  # noqa: BLE001 - eth-account and the two libraries below it raise unrelated classes for malformed signatures.
        return None


def personal_message_hash(text: str) -> bytes:
    """Return the 32-byte digest that a personal message's signature covers (EIP-191, version E)."""
    body = text.encode()
    return keccak_256(b"\x19Ethereum Signed Message:\n" + str(len(body)).encode() + body)


class ContractSignatures:
    """Calls contract wallets through one Ethereum node (the URL of a JSON-RPC endpoint)."""

    def __init__(
        self, session: aiohttp.ClientSession, rpc_url: str, metrics: Metrics, *, timeout_s: float = _TIMEOUT_S
    ) -> None:
        self._session = session
        self._rpc_url = rpc_url
        self._metrics = metrics
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def accepts(self, address: str, text: str, signature: str) -> bool:
        """Return True if the contract at `address` accepts `signature` for `text`; False also if the node does not answer."""
        try:
            raw = bytes.fromhex(signature.removeprefix("0x"))
        except ValueError:
            return False
        if len(raw) > _SIGNATURE_MAX:
            return False
        call, wrapped = _call(address, personal_message_hash(text), raw)
        if call is None:
            return False
        answer = await self._eth_call(call)
        return _said_yes(answer, wrapped=wrapped)

    async def _eth_call(self, call: dict[str, str]) -> bytes:
        question = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
        try:
            async with self._session.post(self._rpc_url, json=question, timeout=self._timeout) as response:
                result = (await response.json(content_type=None)).get("result", "")
            return bytes.fromhex(result.removeprefix("0x"))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, AttributeError):
            self._metrics.upstream_failures.labels("wallet").inc()
            return b""


def _call(address: str, message_hash: bytes, signature: bytes) -> tuple[dict[str, str] | None, bool]:
    """Build the eth_call to the wallet; the flag is True if it deploys the wallet first. None if the signature is malformed."""
    if not signature.endswith(_DEPLOYMENT_MAGIC):
        return {"to": address, "data": _hex(_question(message_hash, signature))}, False
    from eth_abi.abi import decode, encode  # noqa: PLC0415 - loaded with the first contract wallet.
    from eth_abi.exceptions import DecodingError  # noqa: PLC0415

    try:
        factory, deployment, inner = decode(["address", "bytes", "bytes"], signature[: -len(_DEPLOYMENT_MAGIC)])
    except (DecodingError, ValueError, OverflowError):
        return None, True
    calls = [(factory, True, deployment), (address, True, _question(message_hash, inner))]
    return {"to": _MULTICALL, "data": _hex(_AGGREGATE_CALLS + encode(["(address,bool,bytes)[]"], [calls]))}, True


def _question(message_hash: bytes, signature: bytes) -> bytes:
    from eth_abi.abi import encode  # noqa: PLC0415

    return _IS_VALID_SIGNATURE + encode(["bytes32", "bytes"], [message_hash, signature])


def _said_yes(answer: bytes, *, wrapped: bool) -> bool:
    if not wrapped:
        return answer[:4] == _IS_VALID_SIGNATURE and len(answer) >= 32
    from eth_abi.abi import decode  # noqa: PLC0415
    from eth_abi.exceptions import DecodingError  # noqa: PLC0415

    try:
        results: Any = decode(["(bool,bytes)[]"], answer)[0]
    except (DecodingError, ValueError, OverflowError):
        return False
    return len(results) == 2 and bool(results[1][0]) and results[1][1][:4] == _IS_VALID_SIGNATURE


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
