"""Zip files as mmdeploy makes them around a network, and such as nobody should open.

Not for: what the network computes (see `rtmo_graphs.py`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

INSIDE = "20231211/rtmo_onnx/rtmo-x/end2end.onnx"
"""Where the published files have it."""


def zipped(members: Mapping[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file with these members; names are written as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def model_zip(network: bytes, **more: bytes) -> bytes:
    """As it is published: the network, and what mmdeploy writes beside it."""
    folder = INSIDE.rpartition("/")[0]
    return zipped({f"{folder}/detail.json": b"{}", f"{folder}/pipeline.json": b"{}", INSIDE: network, **more})
