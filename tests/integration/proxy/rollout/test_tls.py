"""The admin port under TLS: the command verifies the certificate."""

import asyncio
from pathlib import Path

import pytest
import yaml

from proxy.cli.main import main
from tests.support.certificates import certify
from tests.support.proxy_lab import proxy_lab


@pytest.mark.parametrize(("trusted", "code"), [(True, 0), (False, 1)])
async def test_rollback_over_tls_verifies_the_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: bool, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = certify(tmp_path)
    tls = {"certificate": str(certificate), "key": str(key)}
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
