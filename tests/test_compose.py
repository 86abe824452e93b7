"""The compose stack: what the file promises, and its own commands run as processes against real servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import openai
import pytest
import yaml

import everdraft
from cli.config import load
from pipelines.traffic_log import open_reader
from tests import compose
from tests.compose import FILE, ROOT, environment_of, read, variables
from tests.running_stack import wait_for
from tests.servers.kafka_broker import Broker
from tests.servers.process import accepts, free_port, missing

GPU_FILE = ROOT / "docker-compose.gpu.yml"
OURS = ("topic-init", "serving", "trainer", "traffic")
SERVICES: dict[str, dict[str, Any]] = read({})["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service.get("restart") == "no"}


def complaints_of_the_specification(document: Mapping[str, Any], folder: Path) -> str:
    """What the Compose specification's own schema says against a file; empty: nothing."""
    file = folder / "compose.json"
    file.write_text(json.dumps(document))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout if done.returncode else ""


def test_it_is_what_the_compose_specification_describes(tmp_path: Path) -> None:
    alone, gpus = read({}), read({}, GPU_FILE)
    for document in (alone, gpus, compose.merged(alone, gpus)):
        assert complaints_of_the_specification(document, tmp_path) == ""


@pytest.mark.parametrize("path", ["", "services.kafka", "services.serving.healthcheck", "services.redis.deploy.resources.limits"])
def test_a_key_that_the_specification_does_not_know_is_found(path: str, tmp_path: Path) -> None:
    document = place = read({})
    for name in filter(None, path.split(".")):
        place = place[name]
    place["memroy"] = "1g"
    assert "'memroy'" in complaints_of_the_specification(document, tmp_path)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_bounded_watched_and_closed(name: str) -> None:
    service = SERVICES[name]
    image, _, tag = service["image"].partition(":")
    assert image == "everdraft" or re.search(r"\d+\.\d+", tag), "an image without a version changes under our feet"
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    if name not in ONE_SHOT:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    for key, value in environment_of(service).items():
        assert "PASSWORD" not in key or key.endswith("__FILE"), f"{key}={value}: a password belongs in a file"


def test_whoever_waits_waits_for_what_can_come() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}, whose health nobody checks"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert other in ONE_SHOT, f"{name} waits for {other} to end, which it never does"


def test_every_secret_and_volume_is_declared_and_every_mounted_path_is_there() -> None:
    document = read({})
    for name, service in SERVICES.items():
        assert set(service.get("secrets", ())) <= set(document["secrets"]), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in document["volumes"], volume
        mentioned = set(re.findall(r"/run/secrets/(\w+)", json.dumps(service)))
        assert mentioned <= set(service.get("secrets", ())), f"{name} reads a secret that it is not given"


def test_the_example_explains_every_variable_and_holds_its_default() -> None:
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert example == variables(FILE.read_text()) | variables(GPU_FILE.read_text())


def test_with_gpus_server_and_trainer_have_one_each() -> None:
    services = read({}, GPU_FILE)["services"]
    devices = {name: service["deploy"]["resources"]["reservations"]["devices"] for name, service in services.items()}
    assert {name: each[0]["device_ids"] for name, each in devices.items()} == {"serving": ["0"], "trainer": ["1"]}
    assert all(each[0]["capabilities"] == ["gpu"] for each in devices.values())
    for name, service in services.items():
        own = environment_of(SERVICES[name])
        assert set(environment_of(service)) <= set(own), "it changes what is there, and adds nothing misspelt"


def test_alerts_ask_for_what_is_scraped_and_are_explained() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    jobs = {each["job_name"] for each in scraped}
    manual = (ROOT / "docs" / "operating.md").read_text()
    for rule in rules:
        assert set(re.findall(r'job="(\w+)"', rule["expr"])) <= jobs
        assert f"`{rule['alert']}`" in manual, f"{rule['alert']}: docs/operating.md does not say what to do"
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_are_told_what_they_understand(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    args = everdraft.command_line().parse_strictly(service["command"])
    assert args.verb.name == service["command"][0]
    (tmp_path / "api_keys").write_text("sk = default")
    (tmp_path / "admin_key").write_text("admin")
    environment = {key: value.replace("/run/secrets", str(tmp_path)) for key, value in environment_of(service).items()}
    config = load({}, {key: value for key, value in environment.items() if key.startswith("EVERDRAFT_")})
    if name in ("serving", "trainer"):
        assert config.traffic.url.startswith("kafka://kafka:19092/")
        assert config.registry.url.startswith("redis://redis:6379/")


def test_secrets_are_made_once_and_are_hard_to_guess(tmp_path: Path) -> None:
    def made() -> dict[str, str]:
        subprocess.run(["sh", str(ROOT / "deploy" / "secrets.sh"), str(tmp_path)], check=True, capture_output=True)
        return {path.name: path.read_text().strip() for path in tmp_path.iterdir()}

    first = made()
    assert set(first) == set(read({})["secrets"])
    assert len(set(first.values())) == len(first)
    assert all(len(value) >= 48 for value in first.values())
    assert first["api_keys"] == f"{first['api_key']} = default"
    assert made() == first


class Composed:
    """The services' own commands with their own environment, as processes on loopback: hosts and folders alone are mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        subprocess.run(["sh", str(ROOT / "deploy" / "secrets.sh"), str(folder / "secrets")], check=True, capture_output=True)
        (folder / "broker").mkdir()
        self.broker = Broker(folder / "broker")
        self.broker.start()
        self.ports = {"redis": free_port(), "serving": free_port(), "trainer": free_port()}
        self.services = read({"EVERDRAFT_SECRETS": str(folder / "secrets"), "EVERDRAFT_TRAFFIC_RATE": "4"})["services"]

    def placed(self, name: str, text: str) -> str:
        """A text of a service, as it reads on this machine."""
        own = self.folder / name
        own.mkdir(exist_ok=True)
        for there, here in (
            ("kafka:19092", self.broker.address),
            ("redis:6379", f"127.0.0.1:{self.ports['redis']}"),
            ("serving:8000", f"127.0.0.1:{self.ports['serving']}"),
            ("127.0.0.1:8000", f"127.0.0.1:{self.ports['serving']}"),
            ("127.0.0.1:9100", f"127.0.0.1:{self.ports['trainer']}"),
            ("0.0.0.0", "127.0.0.1"),
            ("/run/secrets", str(self.folder / "secrets")),
            ("dir /data", f"dir {own}'; echo 'bind 127.0.0.1'; echo 'port {self.ports['redis']}"),
        ):
            text = text.replace(there, here)
        return re.sub(r"^/(data|checkpoints)", lambda found: str((own if found[1] == "data" else self.folder) / found[1]), text)

    def environment(self, name: str) -> dict[str, str]:
        given = {key: self.placed(name, value) for key, value in environment_of(self.services[name]).items()}
        for key, port in (("EVERDRAFT_PORT", "serving"), ("EVERDRAFT_TRAINER_METRICS_PORT", "trainer")):
            if key in given:
                given[key] = str(self.ports[port])
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("EVERDRAFT_")}
        return inherited | given | {"EVERDRAFT_ENGINE_THREADS": "1"} if name == "serving" else inherited | given

    def start_prometheus(self) -> None:
        """With the stack's own files, its targets mapped to this machine."""
        program = shutil.which("prometheus")
        if program is None:
            missing("prometheus")
        folder = self.folder / "prometheus"
        shutil.copytree(ROOT / "deploy" / "prometheus", folder)
        file = folder / "prometheus.yml"
        targets = file.read_text().replace("trainer:9100", f"127.0.0.1:{self.ports['trainer']}")
        file.write_text(self.placed("prometheus", targets).replace("scrape_interval: 5s", "scrape_interval: 1s"))
        self.ports["prometheus"] = free_port()
        command = [
            *(str(program), f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}"),
            f"--web.listen-address=127.0.0.1:{self.ports['prometheus']}",
        ]
        with open(self.folder / "prometheus.log", "wb") as out:
            self.processes["prometheus"] = subprocess.Popen(command, stdout=out, stderr=out)
        wait_for("Prometheus to listen", lambda: accepts(self.ports["prometheus"]) or None, 30)

    def asked(self, query: str) -> list[Any]:
        """What Prometheus answers to a query; it must understand it."""
        with urlopen(f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/query?{urlencode({'query': query})}") as answer:
            found = json.load(answer)
        assert found["status"] == "success", query
        result: list[Any] = found["data"]["result"]
        return result

    def start(self, name: str) -> subprocess.Popen[bytes]:
        words = [self.placed(name, word) for word in self.services[name]["command"]]
        program = [] if words[0] == "sh" else [sys.executable, str(ROOT / "everdraft.py")]
        with open(self.folder / f"{name}.log", "wb") as out:
            # a session of its own: what a shell started ends with it
            process = subprocess.Popen(
                [*program, *words], env=self.environment(name), cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )
        self.processes[name] = process
        return process

    def healthy(self, name: str) -> bool:
        """Whether the service's own check of its health says so."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} ended: {self.said(name)}"
        kind, *words = (self.placed(name, word) for word in self.services[name]["healthcheck"]["test"])
        command = ["sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        if command[0] == "python":
            command[0] = sys.executable
        if name == "redis":
            command[-1] = command[-1].replace("redis-cli", f"redis-cli -p {self.ports['redis']}")
        return subprocess.run(command, capture_output=True).returncode == 0

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def verb(self, *words: str) -> str:
        """A verb of the command line, with the trainer's environment."""
        command = [sys.executable, str(ROOT / "everdraft.py"), *words]
        done = subprocess.run(command, env=self.environment("trainer"), cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        for name, process in self.processes.items():
            if process.poll() is None:
                if name == "redis":
                    os.killpg(process.pid, signal.SIGTERM)
                else:
                    process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.broker.kill()


@pytest.fixture
def composed(tmp_path: Path) -> Iterator[Composed]:
    stack = Composed(tmp_path)
    yield stack
    stack.close()


@pytest.mark.slow
def test_the_whole_circle_by_the_services_own_commands(composed: Composed) -> None:
    if subprocess.run(["sh", "-c", "command -v redis-server redis-cli"], capture_output=True).returncode:
        missing("redis-server")
    composed.start("redis")
    wait_for("redis to be healthy", lambda: composed.healthy("redis") or None, 20)
    assert composed.start("topic-init").wait(120) == 0, composed.said("topic-init")
    for name in ("serving", "trainer"):
        composed.start(name)
    for name in ("serving", "trainer"):
        wait_for(f"{name} to be healthy", lambda name=name: composed.healthy(name) or None)  # type: ignore[misc]
    _nobody_gets_in_without_a_key(composed)
    composed.start("traffic")
    presence = wait_for("the trainer to read traffic", lambda: _trainer(composed, traces=8))
    assert presence["figures"]["lag"] >= 0
    _prometheus_answers_every_query(composed)
    assert "run-" in composed.verb("retrain", "--reason", "by hand")
    wait_for("the trainer to take the run up", lambda: _runs(composed) or None)
    composed.processes["traffic"].send_signal(signal.SIGINT)
    composed.processes["traffic"].wait(180)
    assert "(0 failed)" in composed.said("traffic")
    url = composed.environment("trainer")["EVERDRAFT_TRAFFIC"]
    with closing(open_reader(url)) as reader:
        assert len(reader.read({}, 1000)) >= 8


def _nobody_gets_in_without_a_key(composed: Composed) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{composed.ports['serving']}/v1", api_key="guessed", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        client.completions.create(model="everdraft-demo", prompt="x", max_tokens=1)
    client.close()


def _prometheus_answers_every_query(composed: Composed) -> None:
    """Those of the dashboards and of the alerts, on what server and trainer export: a real one, with the stack's own files."""
    exported = set()
    for name in ("serving", "trainer"):
        with urlopen(f"http://127.0.0.1:{composed.ports[name]}/metrics") as answer:
            exported |= set(re.findall(r"^([\w:]+)", answer.read().decode(), re.MULTILINE))
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
    queries = [rule["expr"] for rule in rules]
    for path in sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")):
        document = json.loads(path.read_text())
        queries += [target["expr"] for panel in document["panels"] for target in panel["targets"]]
        queries += [each["expr"] for each in document["annotations"]["list"]]
    wanted = {metric for query in queries for metric in re.findall(r"(?:everdraft_|vllm:)[\w:]+", query)}
    # no draft worker in this stack: tests/speculator/ssd/test_figures.py holds the names of what it counts
    wanted = {metric for metric in wanted if not metric.startswith("everdraft_engine_ssd_")}
    assert wanted <= exported, wanted - exported
    composed.start_prometheus()
    wait_for("Prometheus to have scraped both", lambda: _both_scraped(composed) or None)
    answers = {query: composed.asked(query.replace("$__rate_interval", "1m")) for query in queries}
    assert composed.asked("everdraft_trainer_traces_read_total")[0]["value"][1] != "0"
    assert answers["vllm:num_requests_running"]


def _both_scraped(composed: Composed) -> bool:
    try:
        return len(composed.asked("up == 1")) == 2
    except HTTPError:  # it listens before it answers
        return False


def _trainer(composed: Composed, traces: int) -> Mapping[str, Any] | None:
    time.sleep(0.5)
    for each in json.loads(composed.verb("status", "--json"))["presences"]:
        if each["name"].startswith("trainer:") and each["figures"]["traces"] >= traces:
            return dict(each)
    return None


def _runs(composed: Composed) -> list[Any]:
    runs: list[Any] = json.loads(composed.verb("runs", "--json"))  # one may have ended before anybody looks
    return [run for run in runs if run["state"] != "queued"]


def test_a_dollar_that_compose_would_refuse_is_found() -> None:
    with pytest.raises(AssertionError, match="dollar"):
        compose.interpolated("$(cat secret)", {})
    assert compose.interpolated("$${A:-b} ${A:-b} ${C}", {"A": ""}) == "${A:-b} b "
