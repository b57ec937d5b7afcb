"""The JSON schema of a file of cameras, for editors that complete and check while one types.

It is wider than what `plan.py` accepts where a schema cannot say it (a region, a placeholder). Not for:
checking files.
"""

from __future__ import annotations

from kinestream.cameraspec import PRIORITIES
from kinestream.messages import LANES
from kinestream.region import ROTATIONS
from kinestream.up.options import Schema, object_schema
from kinestream.up.plan import IGNORED_PREFIX, JOBS, RECORDING, REDIS, WORKERS

_SOURCE: Schema = {
    "type": "string",
    "minLength": 1,
    "description": "As `kinestream ingest` takes it. ${NAME}, ${file:/run/secrets/NAME} are secrets.",
}
_PIXELS: Schema = {"type": "number", "minimum": 0}

CAMERA: dict[str, Schema] = {
    "source": _SOURCE,
    "lane": {"enum": [*LANES], "description": "live: fresh, may drop. every-frame: complete, waits."},
    "max_fps": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Take at most so many frames a second.",
    },
    "every": {"type": "integer", "minimum": 1, "description": "Take every Nth frame."},
    "max_side": {
        "type": "integer",
        "minimum": 16,
        "description": "Shrink pictures whose longer side is longer.",
    },
    "quality": {"type": "integer", "minimum": 1, "maximum": 100, "description": "JPEG quality."},
    "region": {
        "description": "The part of the upright picture that is looked at: a box or a polygon.",
        "anyOf": [
            {"type": "string", "description": "X,Y,WIDTH,HEIGHT or X,Y X,Y X,Y…, in pixels or all with %."},
            {"type": "array", "items": _PIXELS, "minItems": 4, "maxItems": 4},
            {
                "type": "array",
                "items": {"type": "array", "items": _PIXELS, "minItems": 2, "maxItems": 2},
                "minItems": 3,
            },
        ],
    },
    "rotate": {"enum": [*ROTATIONS], "description": "Degrees clockwise that turn the pictures upright."},
    "priority": {
        "type": "integer",
        "minimum": PRIORITIES[0],
        "maximum": PRIORITIES[-1],
        "description": "While workers are short, cameras of a higher one are served first.",
    },
    "max_age_ms": {
        "type": "integer",
        "minimum": 1,
        "description": "Age limit of its live frames, milliseconds.",
    },
    "clock_offset_ms": {"type": "number", "description": "Added to the camera's times."},
    "realtime": {"type": "boolean", "description": "Play a file as fast as it was filmed."},
    "reconnect": {"type": "boolean", "description": "Open it again when it broke."},
    "timeout_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Seconds without a picture: it is gone.",
    },
    "paused": {"type": "boolean", "description": "Want it, but not yet."},
}


def json_schema() -> Schema:
    """The schema of the whole file."""
    workers = object_schema(WORKERS)
    camera: Schema = {
        "type": "object",
        "properties": CAMERA,
        "required": ["source"],
        "additionalProperties": False,
    }
    names = {"pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cameras, workers, jobs and recordings of kinestream up",
        "type": "object",
        "properties": {
            "redis": {
                "description": "URL of a server, or options of the one that `up` brings.",
                "anyOf": [{"type": "string", "pattern": "^(redis|rediss|unix)://"}, object_schema(REDIS)],
            },
            "cameras": {
                "type": "object",
                "propertyNames": names,
                "additionalProperties": {"anyOf": [_SOURCE, camera]},
            },
            "workers": {
                "description": "How many, or a map of their options, or a list of such maps.",
                "anyOf": [
                    {"type": "integer", "minimum": 1, "maximum": 64},
                    workers,
                    {"type": "array", "items": workers},
                ],
            },
            "jobs": {"anyOf": [{"type": "boolean"}, {"type": "null"}, object_schema(JOBS)]},
            "recordings": {
                "type": "object",
                "additionalProperties": object_schema(RECORDING, required=["output"]),
            },
        },
        "patternProperties": {f"^{IGNORED_PREFIX}": {}},
        "additionalProperties": False,
    }
