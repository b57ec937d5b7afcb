"""Video files: pictures read with their true times (`reading`), and written as H.264 (`writing`).

Not for: pacing a file, or turning it into messages (see `kinestream_ingest`); nor for cameras.
"""

from kinestream.video.reading import Film, Image, RemoteFilm, VideoFrame, VideoInfo, probe_video, read_video
from kinestream.video.writing import VideoWriter

__all__ = [
    "Film",
    "Image",
    "RemoteFilm",
    "VideoFrame",
    "VideoInfo",
    "VideoWriter",
    "probe_video",
    "read_video",
]
