from eth_account import Account
from eth_account.messages import encode_typed_data

from scorer.population.issuer import Issuer, Json, tampered

ISSUER = Issuer("a test")
ADDRESS = "0x" + "ab" * 20
EXPIRES = "2099-12-31T23:59:59Z"


def issued(*, old_form: bool = False) -> Json:
    return ISSUER.issue(ADDRESS, "Google", ["v0:first"], expires=EXPIRES, old_form=old_form)


def signer_of(credential: Json) -> str:
    """Recover the signer with an independent implementation."""
    proof = dict(credential["proof"])
    signature, typed = proof.pop("proofValue"), proof.pop("eip712Domain")
    message = encode_typed_data(full_message={**typed, "message": {**credential, "proof": proof}})
    return Account.recover_message(message, signature=signature).lower()


def test_signature_is_that_of_the_address_in_the_issuers_did() -> None:
    assert f"did:ethr:{signer_of(issued())}" == ISSUER.did


def test_old_form_is_signed_as_well() -> None:
    credential = issued(old_form=True)
    assert credential["credentialSubject"]["hash"] == "v0:first"
    assert f"did:ethr:{signer_of(credential)}" == ISSUER.did


def test_tampered_credential_has_another_signer() -> None:
    assert f"did:ethr:{signer_of(tampered(issued()))}" != ISSUER.did


def test_signing_is_deterministic_and_low_in_s() -> None:
    proofs = [ISSUER.issue(ADDRESS, "Google", [f"v0:{n}"], expires=EXPIRES)["proof"]["proofValue"] for n in range(20)]
    again = [ISSUER.issue(ADDRESS, "Google", [f"v0:{n}"], expires=EXPIRES)["proof"]["proofValue"] for n in range(20)]
    assert proofs == again
    assert max(int(proof[66:130], 16) for proof in proofs) < 2**255


def test_other_secret_is_another_issuer() -> None:
    assert Issuer("another").did != ISSUER.did
