"""What the URLs of Kafka and Redis share: parameters by name, and files that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import BadUrl
from pipelines.url_parameters import parameters, password, tls_files

OPTIONS = {"ca_file": "their_ca", "key_file": "their_key"}


def test_parameters_are_decoded_and_an_empty_one_is_given_all_the_same() -> None:
    assert parameters("name=a%20b&group=", ("name", "group", "other"), "traffic") == {"name": "a b", "group": ""}


def test_an_unknown_parameter_is_named_with_those_that_are_known() -> None:
    with pytest.raises(BadUrl, match=r"^registry: unknown parameter 'z', expected among a, b$"):
        parameters("a=1&z=2", ("a", "b"), "registry")


def test_files_for_tls_are_handed_on_under_the_clients_own_names(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    given = {"ca_file": str(ca), "name": "ali"}
    assert tls_files(given, OPTIONS, "traffic") == {"their_ca": str(ca)}
    with pytest.raises(BadUrl, match=r"^traffic: ca_file is given, but there is none$"):
        tls_files(given, OPTIONS, "traffic", no_tls="but there is none")


def test_a_file_for_tls_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUrl, match=r"^traffic: key_file: there is no file"):
        tls_files({"key_file": str(tmp_path)}, OPTIONS, "traffic")


def test_a_password_comes_from_its_file_before_anywhere_else(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    assert password({"password_file": str(file)}, "in the url", "traffic") == "open sesame"
    assert password({}, "in the url", "traffic") == "in the url"
    file.write_bytes(b"\xff")
    for unreadable in (file, tmp_path / "missing"):
        with pytest.raises(BadUrl, match=r"^traffic: password_file cannot be read: "):
            password({"password_file": str(unreadable)}, "in the url", "traffic")
