"""Which server the commands ask that look at one."""

import pytest

from aweigh.app.running import Running
from aweigh.core.settings import read_settings


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("10.0.0.7", "http://10.0.0.7:9000"),
        ("localhost", "http://localhost:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),  # what a server listens on
        ("::", "http://[::1]:9000"),
        ("fd00::7", "http://[fd00::7]:9000"),
    ],
)
def test_the_server_of_the_settings_is_asked_where_it_listens(host: str, place: str) -> None:
    settings = read_settings({"host": host, "port": 9000})[0]
    assert Running(settings).place == place
    assert Running(settings, "http://h:1").place == "http://h:1"
