"""The authority is shown and joined with what the system trusts."""

from __future__ import annotations

import hashlib
import re
import ssl
from pathlib import Path

import certifi
import pytest

from chain429.errors import StartError
from chain429.launch.authority import read, steps, write_bundle

PEM = re.compile("-----BEGIN.*?-----END CERTIFICATE-----\n", re.DOTALL)
ONE, TWO, THREE = PEM.findall(Path(certifi.where()).read_text())[:3]


def certificate(folder: Path, *pems: str, name: str = "ca.pem") -> Path:
    path = folder / name
    path.write_text("".join(pems), encoding="utf-8")
    return path


def in_file(path: Path) -> list[str]:
    return PEM.findall(path.read_text())


def test_it_is_known_by_its_fingerprint(tmp_path: Path) -> None:
    found = read(certificate(tmp_path, ONE))
    der = ssl.PEM_cert_to_DER_cert(ONE)
    assert found.sha256.replace(":", "") == hashlib.sha256(der).hexdigest().upper()
    assert found.sha1.replace(":", "") == hashlib.sha1(der).hexdigest().upper()
    assert found.sha1.count(":") == 19


def test_each_platform_is_told_how_to_trust_it_and_how_not_to(tmp_path: Path) -> None:
    found = read(certificate(tmp_path, ONE, name="a b.pem"))
    told = steps(found)
    assert told.count("    trust    ") == told.count("    untrust  ") == 5
    assert f"'{tmp_path}/a b.pem'" in told
    assert f"certutil -user -delstore Root {found.sha1.replace(':', '')}" in told


def test_where_there_is_none_it_says_how_one_comes_about(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="mitmproxy makes it at its first start"):
        read(tmp_path / "none.pem")
    with pytest.raises(StartError, match="can't be read"):
        read(certificate(tmp_path, "nonsense"))


def test_the_bundle_has_the_systems_and_ours_and_each_once(tmp_path: Path) -> None:
    ours = certificate(tmp_path, ONE)
    bundle = write_bundle(ours, {}, tmp_path)
    first = in_file(bundle)
    assert len(first) > 50
    assert ONE in first
    assert bundle.stat().st_mode & 0o777 == 0o600
    assert write_bundle(ours, {}, tmp_path) == bundle
    # A tool that starts another one.
    again = in_file(write_bundle(ours, {"SSL_CERT_FILE": str(bundle), "NODE_EXTRA_CA_CERTS": str(ours)}, tmp_path))
    assert sorted(again) == sorted(first)


def test_what_stood_in_place_of_the_systems_still_does(tmp_path: Path) -> None:
    ours = certificate(tmp_path, ONE)
    environ = {
        "SSL_CERT_FILE": str(certificate(tmp_path, TWO, name="corporate.pem")),
        "NODE_EXTRA_CA_CERTS": str(certificate(tmp_path, THREE, name="node.pem")),
    }
    usual = write_bundle(ours, {}, tmp_path)
    bundle = write_bundle(ours, environ, tmp_path)
    assert len(in_file(bundle)) == 3
    assert bundle != usual
    gone = {"SSL_CERT_FILE": str(tmp_path / "gone.pem")}
    assert len(in_file(write_bundle(ours, gone, tmp_path))) == 1


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE"])
def test_what_single_tools_trust_besides_they_still_do(tmp_path: Path, name: str) -> None:
    corporate = certificate(tmp_path, TWO, name="corporate.pem")
    found = in_file(write_bundle(certificate(tmp_path, ONE), {name: str(corporate)}, tmp_path))
    assert TWO in found
    assert len(found) > 50


def test_a_bundle_without_ours_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="there is no certificate at"):
        write_bundle(tmp_path / "none.pem", {}, tmp_path)
