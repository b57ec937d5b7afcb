"""Decoding on a GPU or a chip for it, as far as FFmpeg offers it. Thin, and never tried on such a machine.

Pictures come back into memory all the same, since they are encoded again. Not for: encoding.
"""

from __future__ import annotations

from av.codec.hwaccel import HWAccel, hwdevices_available

from kinestream.errors import SourceError


def hardware(decoder: str) -> HWAccel | None:
    """What `av.open` wants for `cpu`, `auto` (the first device type there is, else the CPU) or a device type.

    Raises `SourceError` for one that this FFmpeg does not know. If the codec is none that the device decodes,
    or there is no such device, FFmpeg goes on with the CPU where it can.
    """
    if decoder == "cpu":
        return None
    known = hwdevices_available()
    if decoder == "auto":
        return HWAccel(known[0], allow_software_fallback=True) if known else None
    if decoder not in known:
        raise SourceError(f"this FFmpeg decodes on cpu, {', '.join(known)}, got {decoder[:20]!r}")
    return HWAccel(decoder, allow_software_fallback=True)
