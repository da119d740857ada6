import stat
from pathlib import Path

import pytest
from cryptography import x509

from edgecloud.errors import InputError
from edgecloud.runtime.serving.certificates import make_certificates, read_credentials


def test_one_call_makes_an_authority_and_three_pairs(tmp_path: Path) -> None:
    written = make_certificates(tmp_path, hosts=["edge.example", "10.1.2.3"], days=1)
    assert sorted(path.name for path in written) == ["cloud.crt", "device.crt", "edge.crt"]
    authority = x509.load_pem_x509_certificate((tmp_path / "authority.crt").read_bytes())
    for path in written:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        certificate.verify_directly_issued_by(authority)
        assert certificate.not_valid_after_utc <= authority.not_valid_after_utc
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "edge.example" in names.get_values_for_type(x509.DNSName)
        assert "10.1.2.3" in [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    for key in tmp_path.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_more_devices_join_the_same_authority(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    before = (tmp_path / "authority.crt").read_bytes()
    assert [path.name for path in make_certificates(tmp_path, names=["device-2", "edge"])] == ["device-2.crt"]
    assert (tmp_path / "authority.crt").read_bytes() == before
    read_credentials(tmp_path, "device-2")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    with pytest.raises(InputError, match="already"):
        make_certificates(tmp_path)


@pytest.mark.parametrize(
    "arguments", [{"names": ["../x"]}, {"names": ["authority"]}, {"hosts": ["no host"]}, {"days": 0}]
)
def test_bad_names_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_certificates(tmp_path / "new", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_unusable_credentials_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="edgecloud certificates"):
        read_credentials(tmp_path, "edge")
    make_certificates(tmp_path)
    (tmp_path / "edge.key").chmod(0o644)
    with pytest.raises(InputError, match="owner only"):
        read_credentials(tmp_path, "edge")
    (tmp_path / "edge.key").chmod(0o600)
    (tmp_path / "edge.crt").write_text("nonsense")
    with pytest.raises(InputError, match="PEM"):
        read_credentials(tmp_path, "edge")
