import pytest

from aweigh.core.errors import InvalidName
from aweigh.core.names import MAX_NAME, Reference, alias_name, digest_name, model_name, package_path, parse_reference, suggest_name

HOSTILE = [
    "..", "../x", ".", "", " ", "%2e%2e%2f", "..%252f", "a\0b", "C:\\", "//host/x", "file:///etc", "http:///#/../../etc", "?/../", "CON", "con", "con.txt", "lpt1",
    "a" * 4096, "caf\u00e9", "cafe\u0301", "fraud ", " fraud", "fraud\n", "\nfraud", "FRAUD", "a/b", "a\\b", "-a", "a-", ".a", "a.", "_a", "a..b", "a._b", "a___b", "a;b", "$(id)",
    "`id`", "a b", "a#b", "a?b", "a&b", "\u0430bc", "\uff46raud", "a\u2028b", "\u202eabc", "a\r\nb", "~root", "*", "a,b", "--name",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("check", [model_name, alias_name, digest_name])
def test_hostile_names_are_refused_and_shown_short(check, text):
    with pytest.raises(InvalidName) as caught:
        check(text)
    assert caught.value.hint
    assert len(caught.value.message) < 200
    assert "\n" not in caught.value.message
    assert "\0" not in caught.value.message


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("form", ["{}", "{}:1", "{}@a", "fraud:{}", "fraud@{}"])
def test_hostile_references_are_refused(form, text):
    with pytest.raises(InvalidName):
        parse_reference(form.format(text))


@pytest.mark.parametrize("text", ["fraud", "a", "0", "fraud-score", "fraud_v2.1", "a__b", "a--b", "x" * MAX_NAME, "console"])
def test_plain_names_are_taken(text):
    assert model_name(text) == text
    assert str(parse_reference(text)) == text


def test_references():
    assert parse_reference("fraud:3") == Reference(name=model_name("fraud"), version=3)
    assert parse_reference("fraud@champion") == Reference(name=model_name("fraud"), alias=alias_name("champion"))
    for text in ("fraud:3", "fraud@champion"):
        assert str(parse_reference(text)) == text


@pytest.mark.parametrize("version", ["0", "-1", "01", "1.0", "1e3", "٣", "9999999999", "latest", "1 ", "+1"])
def test_a_version_is_a_plain_number_from_1(version):
    with pytest.raises(InvalidName, match="is not a version"):
        parse_reference(f"fraud:{version}")


@pytest.mark.parametrize("text", ["fraud@a:1", "fraud:1@a", "@", ":", "fraud@", "fraud:", "a@b@c"])
def test_references_name_one_thing(text):
    with pytest.raises(InvalidName):
        parse_reference(text)


@pytest.mark.parametrize(
    ("text", "suggested"),
    [
        ("My Model.onnx", "my-model-onnx"),
        ("../../etc", "etc"),
        ("", "model"),
        ("ÆØÅ", "model"),
        ("CON", "model"),
        ("x" * 100, "x" * 64),
        ("a" * 63 + "-b", "a" * 63),
    ],
)
def test_suggested_names_are_names(text, suggested):
    assert suggest_name(text) == suggested
    assert model_name(suggested) == suggested


@pytest.mark.parametrize(
    "text", ["aweigh.json", "variants/onnx/model.onnx.data", "a b/c", "model,v=1 (2).bin", "_x/y-", "variants/sklearn/encoder@1.0"]
)
def test_package_paths_are_taken(text):
    assert package_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "/", "/a", "a/", "a//b", ".", "..", "a/..", "a/../b", "./a", ".git/config", "a\\b", "C:/x", "a\0", "a\nb", "a. ", "a.", "a ", " a", "nul", "x/AUX.txt", "é", "-a", "a" * 200, "a/" * 300 + "a", "a:b", "a*", "~/x"],
)  # fmt: skip
def test_paths_that_mean_something_else_somewhere_are_refused(text):
    with pytest.raises(InvalidName):
        package_path(text)
