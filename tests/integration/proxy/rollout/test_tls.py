"""The admin port under TLS: the command verifies the certificate."""

import asyncio
import datetime as dt
import ipaddress
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proxy.cli.main import main
from tests.support.proxy_lab import proxy_lab


def certificate(folder: Path) -> dict[str, str]:
    """Create a self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shadow")])
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins - dt.timedelta(days=365 * 30))
        .not_valid_after(begins + dt.timedelta(days=365 * 30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}


@pytest.mark.parametrize(("trusted", "code"), [(True, 0), (False, 1)])
async def test_rollback_over_tls_verifies_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", tls["certificate"] if trusted else str(tmp_path / "none.pem"))
    config = tmp_path / "config.yaml"
    async with proxy_lab(tmp_path, admin={"tls": tls}) as made:
        # The command gets other files than the proxy, as on another machine: a proxy also polls the files beside its state file.
        (tmp_path / "elsewhere").mkdir()
        elsewhere = {name: str(tmp_path / "elsewhere" / name) for name in ("state_file", "sentinel_file")}
        admin = {"port": made.proxy.admin_port, "tls": tls}
        config.write_text(yaml.safe_dump({"admin": admin, "serve": elsewhere}))
        assert await asyncio.to_thread(main, ["rollback", "--config", str(config)]) == code
        assert made.proxy.switch.rolled_back is trusted
    assert ("NOT REACHED" in capsys.readouterr().out) is not trusted
