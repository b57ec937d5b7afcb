"""`kinestream scripts`: what it writes is what a server runs, under the SHA-1 that it lists."""

from __future__ import annotations

import subprocess
from pathlib import Path

from redis.asyncio import Redis

from kinestream.delivery import SCRIPTS
from kinestream.keys import Keys
from pipeline import run


async def test_a_server_knows_the_files_by_the_sums_that_are_listed(redis: Redis, tmp_path: Path) -> None:
    written = run("scripts", tmp_path / "made" / "lua")
    assert (written.returncode, written.stderr) == (0, "")
    sums = {name: digest for digest, name in (line.split("  ") for line in written.stdout.splitlines())}
    assert {*sums} == {f"{name}.lua" for name in SCRIPTS}
    assert {*sums} == {path.name for path in (tmp_path / "made" / "lua").iterdir()}
    for name, digest in sums.items():
        text = (tmp_path / "made" / "lua" / name).read_bytes()
        assert await redis.script_load(text) == digest
    keys = Keys()
    state = await redis.evalsha(sums["ledger.lua"], 2, keys.frames("nobody"), keys.ledger("nobody", 1), "1")
    assert state == [0, 0, []]


def test_the_list_alone_writes_nothing_and_is_what_sha1sum_reads(tmp_path: Path) -> None:
    written = run("scripts", tmp_path / "lua")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    listed = run("scripts")
    assert listed.stdout == written.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    checked = subprocess.run(
        ["sha1sum", "-c", "-"], input=listed.stdout, cwd=tmp_path / "lua", capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = run("scripts", tmp_path / "file" / "lua")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        f"kinestream scripts: cannot write to {tmp_path}/file/lua: Not a directory"
    ]
