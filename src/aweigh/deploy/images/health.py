"""Asks the server of this container whether it is ready; ends with 0 where it is. A copy lies in every image; standard library only."""

import os
import socket
import sys


def main() -> int:
    """0 where `GET /v2/health/ready` is answered with 200."""
    port = next(
        (value for name in ("AWEIGH_PORT", "PORT", "AIP_HTTP_PORT", "SAGEMAKER_BIND_TO_PORT") if (value := os.environ.get(name))), "8080"
    )
    try:
        with socket.create_connection(("127.0.0.1", int(port)), timeout=3.0) as connection:
            connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return 0 if connection.recv(64).split(b" ", 2)[1:2] == [b"200"] else 1
    except (OSError, ValueError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
