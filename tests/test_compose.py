"""compose.yaml and compose.gpu.yaml: what a client makes of them, and what they promise.

Not for: running them (see `test_containers.py`), the image (`test_dockerfile.py`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from composefile import ROOT, compose_file, variables

FILES = ["compose.yaml", "compose.gpu.yaml"]
OURS = ["worker", "ingest", "jobs", "watch"]
GUIDE = ROOT / "docs" / "deploy.md"


def client() -> list[str]:
    """Words that begin a call of a Compose client, whichever is here; none needs an engine for `config`."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "compose", "version"], capture_output=True)
        if not asked.returncode:
            return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("no Compose client here: neither `docker compose` nor docker-compose")


def configured(folder: Path, *files: str, **given: str) -> dict[str, Any]:
    """The services as a Compose client reads them, with these variables; fails if it refuses the files."""
    words = [*client(), *(word for file in files for word in ("-f", file)), "config"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **given}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the files, since a client writes where it stands."""
    for file in FILES:
        shutil.copy(ROOT / file, tmp_path)
    (tmp_path / "Dockerfile").write_text("")
    return tmp_path


@pytest.fixture
def services() -> dict[str, Any]:
    return compose_file()


VARIABLES: list[dict[str, str]] = [
    {},
    {
        "KINESTREAM_SOURCE": "rtsp://coach:s3cr3t$$@10.0.0.8:554/stream?a=1&b=2",
        "KINESTREAM_CAMERA": "gate",
        "KINESTREAM_MODEL": "rtmo-m",
        "KINESTREAM_THREADS": "4",
        "KINESTREAM_OFFLINE": "1",
        "KINESTREAM_VIDEOS_FOLDER": "/srv/videos",
        "KINESTREAM_KEEP": "12h",
        "KINESTREAM_REDIS_MAXMEMORY": "256mb",
        "KINESTREAM_REDIS_MEM_LIMIT": "512m",
        "KINESTREAM_REDIS_APPENDONLY": "no",
    },
]


@pytest.mark.parametrize("given", VARIABLES, ids=["defaults", "all variables"])
@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["cpu", "gpu"])
def test_a_client_accepts_the_files_and_fills_in_what_tests_fill_in(
    folder: Path, files: list[str], given: dict[str, str]
) -> None:
    read = configured(folder, *files, **given)
    assert set(read) == {"redis", *OURS}
    for name, service in read.items():
        expected = compose_file("compose.yaml", **given)[name]
        if len(files) > 1 and name == "worker":
            expected |= compose_file("compose.gpu.yaml", **given)[name]
        for key in ("image", "command", "entrypoint", "environment", "restart"):
            # A client prints a $ twice, so that its output can be read again.
            printed = yaml.safe_load(yaml.safe_dump(service.get(key)).replace("$$", "$"))
            assert printed == expected.get(key), (name, key)


def test_the_example_of_another_camera_works_without_its_comment_marks(folder: Path) -> None:
    path = folder / "compose.yaml"
    text = path.read_text()
    (example,) = re.findall(r"```yaml\n(  gate:\n.*?)```", GUIDE.read_text(), re.DOTALL)
    commented = re.sub(r"(?m)^  ", "  # ", example)
    assert text.count(commented) == 1
    path.write_text(text.replace(commented, example))
    read = configured(folder, "compose.yaml")
    assert read["gate"]["command"][0].startswith("rtsp://")
    same = {key: value for key, value in read["ingest"].items() if key != "command"}
    assert {key: value for key, value in read["gate"].items() if key != "command"} == same


def overrides() -> list[str]:
    """The files that the guide tells people to write."""
    return re.findall(r"```yaml\n(services:\n.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(overrides())))
def test_a_client_accepts_the_guides_overrides(folder: Path, number: int) -> None:
    (folder / "compose.override.yaml").write_text(overrides()[number])
    given = {"REDIS_ADDRESS": "10.0.0.2", "REDIS_PASSWORD": "s3cr3t"}
    configured(folder, "compose.yaml", "compose.override.yaml", **given)


def test_the_guide_knows_every_variable_and_no_other() -> None:
    found = {
        name: default for file in FILES for name, default in variables((ROOT / file).read_text()).items()
    }
    rows = dict(re.findall(r"(?m)^\| `(KINESTREAM_\w+)` \| `([^`]*)` \|", GUIDE.read_text()))
    assert rows == found


def test_the_server_refuses_rather_than_evicts_and_has_room_to_rewrite_its_file(
    services: dict[str, Any],
) -> None:
    redis = services["redis"]
    words = redis["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")
    assert (options["--maxmemory"], redis["mem_limit"]) == ("1gb", "2g")
    assert redis["volumes"] == ["redis-data:/data"]


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_published_and_no_name_is_fixed(file: str) -> None:
    for name, service in compose_file(file).items():
        forbidden = {"ports", "network_mode", "container_name", "hostname", "privileged", "cap_add"}
        assert not forbidden & service.keys(), name
        assert "--name" not in service.get("command", []), name
        assert "docker.sock" not in str(service), name


def test_every_service_is_confined_watched_and_restarted(services: dict[str, Any]) -> None:
    assert set(services) == {"redis", *OURS}
    for name, service in services.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD-SHELL", name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
    assert services["redis"]["user"] == "valkey"  # the others' user is the image's
    for name in OURS:
        assert services[name]["depends_on"] == {"redis": {"condition": "service_healthy"}}
        assert services[name]["init"] is True
        assert "user" not in services[name]


def test_images_are_pinned(services: dict[str, Any]) -> None:
    assert re.fullmatch(r"valkey/valkey:\d+\.\d+-alpine", services["redis"]["image"])
    for name in OURS:
        assert services[name]["build"] == "."
        assert services[name]["image"] == "kinestream:local"
    gpu = compose_file("compose.gpu.yaml")["worker"]
    assert gpu["build"]["target"] == "gpu"
    assert gpu["image"] != services["worker"]["image"]


@pytest.mark.parametrize("file", FILES)
def test_no_secret_is_in_the_files(file: str) -> None:
    text = yaml.safe_dump(yaml.safe_load((ROOT / file).read_text()))
    assert not re.search(r"(?i)passw|secret|token|requirepass|://[^/\s\"]*:[^/\s\"]*@", text)


def test_a_gpu_that_is_missing_is_an_error(services: dict[str, Any]) -> None:
    gpu = compose_file("compose.gpu.yaml")["worker"]
    assert gpu["command"][-3:] == ["--device", "cuda", "--require-device"]
    assert gpu["command"][:2] == services["worker"]["command"][:2]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
