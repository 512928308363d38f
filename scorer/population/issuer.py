"""Sign stamp credentials (EthereumEip712Signature2021) with a key derived from a text.

Pure and deterministic. The signature is a plain EIP-712 signature over the credential with its proof, without proofValue and
eip712Domain, by the secp256k1 key whose address is in the issuer's did:ethr. eth-account would produce an equivalent signature several
times slower, since it multiplies points in Python; here the nonce is an HMAC of key and digest, and OpenSSL multiplies.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

# The order of the group of secp256k1.
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_CREATED = "2024-01-01T00:00:00Z"
_DOMAIN = {"name": "VerifiableCredential"}

Json = dict[str, Any]


def _texts(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "type": "string"} for name in names]


_NULLIFIERS_SUBJECT = {
    "NullifiersContext": _texts("@container", "@type"),
    "@context": [{"name": "nullifiers", "type": "NullifiersContext"}, *_texts("provider")],
    "CredentialSubject": [
        {"name": "@context", "type": "@context"},
        {"name": "nullifiers", "type": "string[]"},
        *_texts("id", "provider"),
    ],
}
_HASH_SUBJECT = {
    "@context": _texts("hash", "provider"),
    "CredentialSubject": [{"name": "@context", "type": "@context"}, *_texts("hash", "id", "provider")],
}
_DOCUMENT = {
    "EIP712Domain": _texts("name"),
    "Proof": _texts("@context", "created", "proofPurpose", "type", "verificationMethod"),
    "Document": [
        {"name": "@context", "type": "string[]"},
        {"name": "credentialSubject", "type": "CredentialSubject"},
        *_texts("expirationDate", "issuanceDate", "issuer"),
        {"name": "proof", "type": "Proof"},
        {"name": "type", "type": "string[]"},
    ],
}


@dataclass(frozen=True)
class Issuer:
    """An issuer of credentials: `secret` is any text; equal texts give equal keys."""

    secret: str

    @cached_property
    def _key(self) -> int:
        return int.from_bytes(hashlib.sha256(self.secret.encode()).digest(), "big") % (_ORDER - 1) + 1

    @cached_property
    def did(self) -> str:
        """The issuer's DID, as in credentials and in TRUSTED_IAM_ISSUERS."""
        x, y = _point(self._key)
        return "did:ethr:0x" + keccak(x.to_bytes(32, "big") + y.to_bytes(32, "big"))[12:].hex()

    def issue(
        self, address: str, provider: str, nullifiers: Sequence[str], *, expires: str, old_form: bool = False
    ) -> Json:
        """Sign a credential of `provider` for `address`.

        Args:
            address: the subject, lower-case hex with 0x.
            provider: the stamp's name.
            nullifiers: values that one address at a time may use.
            expires: an ISO 8601 text.
            old_form: put the first nullifier into `hash` instead of the list, as in old credentials.
        """
        subject, types = (_hash_subject, _HASH_SUBJECT) if old_form else (_nullifiers_subject, _NULLIFIERS_SUBJECT)
        document: Json = {
            "@context": ["https://www.w3.org/2018/credentials/v1", "https://w3id.org/vc/status-list/2021/v1"],
            "type": ["VerifiableCredential"],
            "issuer": self.did,
            "issuanceDate": _CREATED,
            "expirationDate": expires,
            "credentialSubject": subject(address, provider, nullifiers),
        }
        document["proof"] = self._proof(document, {**_DOCUMENT, **types})
        return document

    def _proof(self, document: Json, types: Json) -> Json:
        proof = {
            "@context": "https://w3id.org/security/suites/eip712sig-2021/v1",
            "type": "EthereumEip712Signature2021",
            "proofPurpose": "assertionMethod",
            "verificationMethod": f"{self.did}#controller",
            "created": _CREATED,
        }
        typed = {"domain": _DOMAIN, "primaryType": "Document", "types": types}
        message = encode_typed_data(full_message={**typed, "message": {**document, "proof": proof}})
        digest = keccak(b"\x19" + message.version + message.header + message.body)
        return {**proof, "proofValue": "0x" + _sign(self._key, digest).hex(), "eip712Domain": typed}


def tampered(credential: Json) -> Json:
    """Change the nullifiers of a credential after signing, so that its proof is invalid."""
    subject = credential["credentialSubject"]
    changed = {**subject, "nullifiers": [f"{nullifier}tampered" for nullifier in subject["nullifiers"]]}
    return {**credential, "credentialSubject": changed}


def _nullifiers_subject(address: str, provider: str, nullifiers: Sequence[str]) -> Json:
    listed = {"@type": "https://schema.org/Text", "@container": "@list"}
    return {
        "id": f"did:pkh:eip155:1:{address}",
        "provider": provider,
        "nullifiers": list(nullifiers),
        "@context": {"provider": "https://schema.org/Text", "nullifiers": listed},
    }


def _hash_subject(address: str, provider: str, nullifiers: Sequence[str]) -> Json:
    return {
        "id": f"did:pkh:eip155:1:{address}",
        "provider": provider,
        "hash": nullifiers[0],
        "@context": {"provider": "https://schema.org/Text", "hash": "https://schema.org/Text"},
    }


def _point(scalar: int) -> tuple[int, int]:
    numbers = ec.derive_private_key(scalar, ec.SECP256K1()).public_key().public_numbers()
    return numbers.x, numbers.y


def _sign(key: int, digest: bytes) -> bytes:
    """Sign a digest; return the 65 bytes r, s, v of an ECDSA signature with a low s (EIP-2)."""
    nonce = int.from_bytes(hmac.digest(key.to_bytes(32, "big"), digest, "sha256"), "big") % (_ORDER - 1) + 1
    x, y = _point(nonce)
    r = x % _ORDER
    s = pow(nonce, -1, _ORDER) * (int.from_bytes(digest, "big") + r * key) % _ORDER
    parity = y & 1
    if s > _ORDER // 2:
        s, parity = _ORDER - s, parity ^ 1
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])
