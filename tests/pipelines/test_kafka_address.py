"""Kafka URLs: what they say, and what is wrong with those that cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import BadUrl
from pipelines.kafka_log import KafkaAddress
from pipelines.traffic_log import open_reader, open_writer


def test_a_url_names_brokers_and_topic() -> None:
    address = KafkaAddress.parse("kafka://one:9092,two:9093/traffic?group=mine&max_record_bytes=2000000")
    assert (address.brokers, address.topic, address.group) == (("one:9092", "two:9093"), "traffic", "mine")
    assert address.max_record_bytes == 2_000_000
    assert address.client["security_protocol"] == "PLAINTEXT"
    assert str(address) == "kafka://one:9092,two:9093/traffic"


def test_signing_in_and_tls_are_passed_on(tmp_path: Path) -> None:
    password, ca = tmp_path / "password", tmp_path / "ca.pem"
    password.write_text("open sesame\n")
    ca.write_text("")
    url = f"kafka://one:9092/traffic?sasl=scram-sha-512&username=ali&password_file={password}&ca_file={ca}"
    client = KafkaAddress.parse(url).client
    assert client["security_protocol"] == "SASL_SSL"
    assert client["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (client["sasl_plain_username"], client["sasl_plain_password"]) == ("ali", "open sesame")
    assert client["ssl_cafile"] == str(ca)
    assert KafkaAddress.parse("kafka://one:9092/traffic?tls=true").client["security_protocol"] == "SSL"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafka:///traffic", "expected kafka://host:port"),
        ("kafka://one:9092", "expected kafka://host:port"),
        ("kafka://one:9092/a/b", "expected kafka://host:port"),
        ("kafka://one/traffic", "a broker is not host:port"),
        ("kafka://ali:hunter2@one:9092/traffic", "name and password go into the parameters"),
        ("kafka://one:9092/traffic?user=x", "unknown parameter 'user', expected among sasl"),
        ("kafka://one:9092/traffic?sasl=md5&username=a&password=b", "sasl is 'md5', expected one of plain"),
        ("kafka://one:9092/traffic?sasl=plain&password=b", "username is missing"),
        ("kafka://one:9092/traffic?sasl=plain&username=a", "password_file (or password) is missing"),
        ("kafka://one:9092/traffic?sasl=plain&username=a&password_file=/no/such", "password_file cannot be read"),
        ("kafka://one:9092/traffic?username=a&password=b", "sasl is missing"),
        ("kafka://one:9092/traffic?tls=yes", "tls is 'yes', expected true or false"),
        ("kafka://one:9092/traffic?ca_file=/no/such", "ca_file: there is no file"),
        ("kafka://one:9092/traffic?ca_file=/etc/hosts&tls=false", "ca_file is given, but tls is false"),
        ("kafka://one:9092/traffic?max_record_bytes=many", "max_record_bytes is 'many', expected at least 1024"),
    ],
)
def test_a_url_that_cannot_work_is_refused_by_the_name_of_what_is_wrong(url: str, words: str) -> None:
    with pytest.raises(BadUrl) as refused:
        open_reader(url)
    assert str(refused.value).startswith("traffic: ")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value), "a password is not repeated"


def test_a_writer_needs_a_spool() -> None:
    with pytest.raises(BadUrl, match=r"traffic\.spool is missing"):
        open_writer("kafka://one:9092/traffic")
