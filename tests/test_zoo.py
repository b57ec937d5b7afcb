"""Names of models: which file each means, what `--model auto` is where, and rtmlib as the list of addresses.

Not for: how a file comes into the cache (see `test_modelcache.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rtmlib.tools.file import get_mirror_url
from rtmlib.tools.solution.body import Body
from rtmlib.tools.solution.body_with_feet import BodyWithFeet

from kinestream.errors import ModelError, UsageError
from kinestream_workers import models
from kinestream_workers.engines.pairfile import Pair, read_pair
from kinestream_workers.models import choose_model, resolve_model
from kinestream_workers.zoo import FILES, HALPE, NAMES, PAIRS, QUALITIES, SHA256, zoo_model
from lying_http import LyingServer, file, silent
from modelzips import model_zip


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("KINESTREAM_MODELS", str(folder))
    return folder


def test_the_names() -> None:
    assert NAMES[:7] == ("rtmo-t", "rtmo-s", "rtmo-m", "rtmo-l", "lightweight", "balanced", "performance")
    assert NAMES[7:] == tuple(PAIRS) and len({zoo_model(name).file for name in FILES}) == len(FILES)
    for name in FILES:
        model = zoo_model(name)
        begin = name.replace("yolox-", "yolox_").removesuffix(HALPE)
        assert model.name == name and model.file.startswith(f"{begin}_") and model.file.endswith(".onnx")
        assert [url.rpartition("/")[2] for url in model.urls] == [model.zip_file] * 2
        assert model.zip_file.removesuffix(".zip") == model.file.removesuffix(".onnx")
        assert model.urls[0].startswith("https://") and model.urls[1] == get_mirror_url(model.urls[0])
        if model.quality and name in QUALITIES:
            assert model.urls[0] == Body.RTMO_MODE[model.quality]["pose"], "what rtmlib itself would take"
            assert zoo_model(model.quality) == model
    assert zoo_model("rtmo-t").urls[0].rpartition("/")[0] == zoo_model("rtmo-s").urls[0].rpartition("/")[0]
    assert {name for name in FILES if zoo_model(name).sha256} == SHA256.keys()
    assert [*SHA256] == ["rtmo-t", "rtmo-s", "rtmpose-s"]


@pytest.mark.parametrize(
    "listed",
    [
        {},
        None,
        {"lightweight": "https://host/rtmo-s_1.zip"},
        {"lightweight": {"pose": "https://host/rtmo-s_1.onnx"}},
        {"lightweight": {"pose": "https://host/rtmo-m_1.zip"}},
        {"lightweight": {"pose": "ftp://host/rtmo-s_1.zip"}},
        {"lightweight": {"pose": None}},
    ],
)
def test_another_layout_of_rtmlib_is_one_line(listed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Body, "RTMO_MODE", listed)
    with pytest.raises(ModelError, match=r"^this version of rtmlib does not list rtmo-s .*path of a file$"):
        zoo_model("rtmo-s")


def test_a_module_that_rtmlib_lost_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rtmlib.tools.file", None)
    with pytest.raises(ModelError, match=r"^this version of rtmlib does not list rtmo-m .*path of a file$"):
        zoo_model("rtmo-m")


@pytest.mark.parametrize("url", ["http://models.example/rtmo", "https://[::1]:8080/a/b/"])
def test_a_mirror_is_asked_in_place_of_the_public_servers(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    public = zoo_model("rtmo-t")
    monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", url)
    assert zoo_model("rtmo-t").urls == (f"{url.rstrip('/')}/{public.zip_file}",)
    assert zoo_model("rtmo-t").file == public.file


@pytest.mark.parametrize(
    "url",
    [
        "models",
        "/folder",
        "ftp://host/",
        "https:///x",
        "http://host:port/",
        "http://h/?token=secret",
        "http://[",
        "http://user:secret@host/",
        "http://h/#x",
    ],
)
def test_a_mirror_that_is_none(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", url)
    with pytest.raises(UsageError, match="KINESTREAM_MODEL_MIRROR is the URL of a folder") as caught:
        zoo_model("rtmo-t")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("rtmo-s", "rtmo-s"), ("performance", "rtmo-l")])
def test_a_name_is_its_file_in_the_cache(cache: Path, name: str, size: str) -> None:
    path = cache / zoo_model(size).file
    path.write_bytes(b"a network")
    assert resolve_model(name) == path


def test_a_name_of_two_files_is_the_file_that_names_both(cache: Path) -> None:
    pose, detector = (cache / zoo_model(name).file for name in ("rtmpose-m-halpe26", "yolox-m"))
    pose.write_bytes(b"a network")
    with pytest.raises(ModelError, match=r"^yolox-m is not here and KINESTREAM_OFFLINE forbids"):
        resolve_model("rtmpose-m-halpe26")
    assert not models.is_here("rtmpose-m-halpe26")
    detector.write_bytes(b"another network")
    assert models.is_here("rtmpose-m-halpe26")
    path = resolve_model("rtmpose-m-halpe26")
    assert path == cache / "rtmpose-m-halpe26.rtmpose"
    assert read_pair(path) == Pair(detector=detector, pose=pose)
    written = path.stat().st_mtime_ns
    path.parent.chmod(0o500)  # a cache that is mounted to be read only
    try:
        assert resolve_model("rtmpose-m-halpe26") == path and path.stat().st_mtime_ns == written
    finally:
        path.parent.chmod(0o700)
    path.write_text("of another version of rtmlib")
    assert read_pair(resolve_model("rtmpose-m-halpe26")).pose == pose
    assert sorted(file.name for file in cache.iterdir()) == sorted(
        [path.name, pose.name, detector.name, *locks(cache)]
    )


def locks(cache: Path) -> list[str]:
    """What a download that was forbidden left."""
    return [file.name for file in cache.glob(".*.lock")]


@pytest.mark.parametrize("name", ["rtmpose-x", "rtmpose-x-halpe26"])
def test_a_detector_that_rtmlib_changed_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be another pair than the one that rtmlib has."""
    home = BodyWithFeet if name.endswith(HALPE) else Body
    listed = {**home.MODE, "performance": {**home.MODE["performance"], "det": "https://host/yolox_l_1.zip"}}
    monkeypatch.setattr(home, "MODE", listed)
    with pytest.raises(
        ModelError, match=rf"^this version of rtmlib does not list (yolox-x|{name}) .*path of a"
    ):
        resolve_model(name)


def test_a_name_without_its_file_says_what_to_do(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"^rtmo-m is not here and KINESTREAM_OFFLINE forbids"):
        resolve_model("balanced")


def test_a_file_may_have_a_models_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rtmo-s", "auto"):
        (tmp_path / name).write_bytes(b"a network")
        assert resolve_model(f"./{name}") == Path(name) != resolve_model("auto")


def test_a_name_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model("balaned")
    assert str(caught.value).startswith("cannot read model balaned: No such file")
    assert {*NAMES, "auto", "testcard", "testcard-fixed"} <= {*str(caught.value).replace(",", "").split()}


def test_auto_is_rtmo_where_it_is_here(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = cache / zoo_model("rtmo-s").file
    path.write_bytes(b"a network")
    assert (choose_model("auto"), resolve_model("auto")) == ("rtmo-s", path)
    assert caplog.messages == [f"model auto: rtmo-s, {path}"] * 2
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_auto_is_rtmo_where_it_can_be_had(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.delenv("KINESTREAM_OFFLINE")
    monkeypatch.delitem(SHA256, "rtmo-s")
    with LyingServer() as server:
        monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", server.url)
        server.on(f"/{zoo_model('rtmo-s').zip_file}", file(model_zip(b"a network")))
        assert resolve_model("auto").read_bytes() == b"a network"
    assert [message.split(" ")[0] for message in caplog.messages] == ["downloading", "rtmo-s", "model"]


def test_auto_is_the_test_card_where_there_is_no_way(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_model("auto") == "testcard"
    assert resolve_model("auto") == resolve_model("testcard")
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert len(caplog.messages) == 2 and "\n" not in caplog.messages[0]
    assert caplog.messages[0].startswith(
        "model auto: testcard, which finds nobody in pictures of people: rtmo-s is not here and"
    )


def test_auto_is_the_test_card_where_rtmlib_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Body, "RTMO_MODE", {})
    assert choose_model("auto") == "testcard"


def test_auto_does_not_wait_long(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a limit of its own, less than that of a name."""
    assert models.AUTO_S < models.NAMED_S
    monkeypatch.setattr(models, "AUTO_S", 0.2)
    monkeypatch.setattr(models, "NAMED_S", 1000.0)
    monkeypatch.delenv("KINESTREAM_OFFLINE")
    with LyingServer() as server:
        monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", server.url)
        server.on(f"/{zoo_model('rtmo-s').zip_file}", silent)
        assert choose_model("auto") == "testcard"


def test_auto_shows_what_is_wrong_with_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINESTREAM_MODEL_MIRROR", "nonsense")
    with pytest.raises(UsageError, match="KINESTREAM_MODEL_MIRROR"):
        choose_model("auto")


def test_rtmlib_is_loaded_for_names_only(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a network")
    script = f"""
import json, sys
from kinestream_workers import modelcache, models
loaded = []
for model in ["testcard", {str(tmp_path / "model.onnx")!r}, "auto"]:
    models.resolve_model(model)
    loaded.append("rtmlib" in sys.modules)
print(json.dumps(loaded))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, False, True]
