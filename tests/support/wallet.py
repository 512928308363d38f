"""A wallet that signs texts and sign-in messages for the scorer."""

from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct

from scorer.domain.siwe import parse_message

WALLET = Account.from_key("0x" + "11" * 32)
DOMAIN = "app.example.test"


def signed(text: str) -> str:
    """Sign a text with the wallet."""
    return "0x" + WALLET.sign_message(encode_defunct(text=text)).signature.hex().removeprefix("0x")


def sign_in(nonce: str, **changes: Any) -> dict[str, Any]:
    """Return the body of a sign-in with this nonce; `changes` replace fields of its message."""
    fields = {
        "domain": DOMAIN,
        "address": WALLET.address,
        "statement": "Sign in",
        "uri": f"https://{DOMAIN}/login",
        "version": "1",
        "chainId": 1,
        "nonce": nonce,
        "issuedAt": "2024-01-01T00:00:00.000Z",
        **changes,
    }
    return {"message": fields, "signature": signed(parse_message(fields, address=WALLET.address).text())}
