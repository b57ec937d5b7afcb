"""A program for a network of its own: is a report sent to play.googleapis.com when a landmarker closes?

Started by test_mediapipe.py with `ours` or `plain`, a model's path, and a file with the certificate and key
of a server that MediaPipe would trust. There, that host's name must lead to 127.0.0.1. Prints how many bytes
of a report came.
"""

import socket
import ssl
import sys
import threading
from pathlib import Path

import certifi


def close_ours(model: Path) -> None:
    """Open a landmarker as the engine does, and close it."""
    from kinestream_workers.engines.engine import EngineOptions
    from kinestream_workers.engines.mediapipe import MediapipeEngine
    from kinestream_workers.engines.warmup import warm_up

    engine = MediapipeEngine(model, EngineOptions())
    warm_up(engine, 1)
    engine.close()


def close_plain(model: Path) -> None:
    """Open one with MediaPipe's own options, and close it."""
    from mediapipe.tasks import python as tasks

    tasks.vision.PoseLandmarker.create_from_model_path(str(model)).close()


def received(server: socket.socket, trusted: str) -> int:
    """Bytes that came through the first connection after both sides had agreed on its encryption."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    connection, _ = server.accept()
    connection.settimeout(20)
    try:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            return len(encrypted.recv(65536))
    except (ssl.SSLError, ConnectionError):
        return 0


def main() -> None:
    """Listen in that host's place, close a landmarker in a thread, and count."""
    which, model, trusted = sys.argv[1:]
    certifi.where = lambda: trusted
    server = socket.create_server(("127.0.0.1", 443))
    server.settimeout(30)
    close = {"ours": close_ours, "plain": close_plain}[which]
    closing = threading.Thread(target=close, args=(Path(model),))
    closing.start()
    count = received(server, trusted)
    server.close()
    closing.join()
    sys.stdout.write(f"{count} bytes\n")


if __name__ == "__main__":
    main()
