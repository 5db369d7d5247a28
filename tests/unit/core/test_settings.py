import msgspec
import pytest

from aweigh.core.errors import FileMissing, InvalidSetting
from aweigh.core.settings import Settings, read_settings


def write(folder, text: str):
    path = folder / "aweigh.toml"
    path.write_text(text)
    return path


def test_nothing_given_is_the_defaults(tmp_path):
    settings, origins = read_settings({"home": str(tmp_path)}, environment={})
    assert msgspec.structs.replace(settings, home="~/.aweigh") == Settings()
    assert {origin.name for origin in origins} == set(Settings.__struct_fields__)
    assert {origin.origin for origin in origins} == {"default", "--home"}


def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    path = write(tmp_path, "port = 1\nthreads = 1\nmax_rows = 1\n")
    settings, origins = read_settings(
        {"port": 3, "host": None}, environment={"AWEIGH_HOME": str(tmp_path), "AWEIGH_PORT": "2", "AWEIGH_THREADS": "2", "OTHER": "x"}
    )
    assert (settings.port, settings.threads, settings.max_rows, settings.host) == (3, 2, 1, "127.0.0.1")
    found = {origin.name: origin.origin for origin in origins}
    assert found["port"] == "--port"
    assert found["threads"] == "AWEIGH_THREADS"
    assert found["max_rows"] == str(path)
    assert found["host"] == "default"
    assert read_settings({"max_rows": 7}, environment={"AWEIGH_HOME": str(tmp_path)})[0].max_rows == 7


def test_a_settings_file_named_by_flag(tmp_path):
    path = tmp_path / "other {}.toml"
    path.write_text("port = 9\n")
    settings, origins = read_settings({}, file=path, environment={"AWEIGH_HOME": str(tmp_path / "none")})
    assert settings.port == 9
    assert next(origin.origin for origin in origins if origin.name == "port") == str(path)
    with pytest.raises(FileMissing, match="does not exist"):
        read_settings({}, file=tmp_path / "absent.toml", environment={})


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("no", False), ("off", False), ("", False)],
)
def test_words_for_yes_and_no(tmp_path, text, value):
    assert read_settings({"home": str(tmp_path)}, environment={"AWEIGH_NO_AUTH": text})[0].no_auth is value


@pytest.mark.parametrize(
    ("environment", "message", "hint"),
    [
        ({"AWEIGH_PROT": "1"}, "unknown setting 'prot' from AWEIGH_PROT", "did you mean 'port'?"),
        ({"AWEIGH_ZZZZZZ": "1"}, "unknown setting 'zzzzzz' from AWEIGH_ZZZZZZ", "'aweigh config' lists every setting"),
        ({"AWEIGH_PORT": "http"}, "setting 'port' from AWEIGH_PORT is 'http': expected a value of type int", ""),
        ({"AWEIGH_PORT": "65536"}, "setting 'port' from AWEIGH_PORT is 65536: expected 0 to 65535", ""),
        ({"AWEIGH_PORT": "-1"}, "setting 'port' from AWEIGH_PORT is -1: expected 0 to 65535", ""),
        ({"AWEIGH_THREADS": "-1"}, "setting 'threads' from AWEIGH_THREADS is -1: expected 0 to 1024", ""),
        ({"AWEIGH_MAX_ROWS": "0"}, "setting 'max_rows' from AWEIGH_MAX_ROWS is 0: expected 1 to 2147483647", ""),
        ({"AWEIGH_REQUEST_TIMEOUT_S": "nan"}, "is nan: expected at least 0.1", ""),
        ({"AWEIGH_NO_AUTH": "maybe"}, "is 'maybe': expected a value of type bool", ""),
        ({"AWEIGH_EXECUTOR": "fiber"}, "expected one of 'auto', 'inline', 'thread'", ""),
        ({"AWEIGH_HOME": ""}, "setting 'home' from AWEIGH_HOME is empty", "name a folder"),
        ({"AWEIGH_HOME": "~no-such-user-here/x"}, "is not a path", "without '~'"),
        ({"AWEIGH_HOME": "a\0b"}, "is not a path: it holds a NUL", ""),
    ],
)
def test_a_wrong_setting_names_key_value_and_origin(tmp_path, environment, message, hint):
    with pytest.raises(InvalidSetting) as caught:
        read_settings({}, environment={"AWEIGH_HOME": str(tmp_path), **environment})
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["port = 'x'", "port = true", "port = 1.5", "prot = 1", "port =", "[table]\nport = 1", "\x00", "home = 5"])
def test_a_wrong_file_is_named(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        read_settings({"home": str(tmp_path)}, environment={})
    assert str(path) in caught.value.message


def test_a_file_that_is_no_text_or_no_file(tmp_path):
    (tmp_path / "aweigh.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidSetting, match="cannot be read"):
        read_settings({"home": str(tmp_path)}, environment={})
    (tmp_path / "aweigh.toml").unlink()
    (tmp_path / "aweigh.toml").mkdir()
    with pytest.raises(InvalidSetting, match="cannot be read"):
        read_settings({"home": str(tmp_path)}, environment={})


def test_a_home_that_is_a_file_is_for_the_store_to_refuse(tmp_path):
    home = tmp_path / "home"
    home.write_text("")
    assert read_settings({"home": str(home)}, environment={})[0].home_folder == home


def test_the_environment_is_read_only_when_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("AWEIGH_HOME", str(tmp_path))
    monkeypatch.setenv("AWEIGH_PORT", "4321")
    assert Settings().port == 8080
    assert read_settings()[0].port == 4321


def test_clouds_say_the_port_and_the_paths_by_their_own_names(tmp_path):
    said = {"SAGEMAKER_BIND_TO_PORT": "1", "AIP_HTTP_PORT": "2", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/p"}
    path = write(tmp_path, "port = 9\n")
    settings, origins = read_settings({"home": str(tmp_path)}, environment=said)
    assert (settings.port, settings.health_route, settings.predict_route) == (2, "/h", "/p")
    assert {origin.name: origin.origin for origin in origins}["port"] == "AIP_HTTP_PORT"
    assert read_settings({"home": str(tmp_path)}, environment={**said, "PORT": "3"})[0].port == 3
    assert read_settings({"home": str(tmp_path)}, environment={"PORT": "3", "AWEIGH_PORT": "4"})[0].port == 4
    assert read_settings({"home": str(tmp_path)}, environment={"PORT": ""})[0].port == 9, path
    with pytest.raises(InvalidSetting, match="setting 'port' from PORT is 'http'"):
        read_settings({"home": str(tmp_path)}, environment={"PORT": "http"})


def test_a_misspelt_parameter_of_a_function_names_the_nearest_of_its_own(tmp_path):
    with pytest.raises(InvalidSetting, match="there is no parameter or setting 'keeps'") as caught:
        read_settings({"home": str(tmp_path), "keeps": "exact"}, environment={}, parameters=["keep", "labels"])
    assert caught.value.hint == "did you mean 'keep'?"
    with pytest.raises(InvalidSetting) as caught:
        read_settings({"prot": 1}, environment={}, parameters=())
    assert caught.value.hint == "did you mean 'port'?"
