"""Advice against cases reckoned by hand: sizes, what rules a target out, and the order."""

import msgspec

from aweigh.core.objective import parse_objective
from aweigh.core.plugins import plugins
from aweigh.deploy.advice import Option, Subject, Wish, advise, read_places
from aweigh.deploy.capacity import Capacity
from aweigh.deploy.prices import read_prices

SUBJECT = Subject(model="fraud:3", variant="onnx", size_mib=2.0, glibc="2.28")
CAPACITY = Capacity(requests_per_second=1000.0, latency_ms=1.0, memory_mib=100, start_s=0.5, measured=True, source="measured")


def asked(wish: Wish, *, subject: Subject = SUBJECT, capacity: Capacity = CAPACITY) -> dict[tuple[str, str, str], Option]:
    return {(each.target, each.mode, each.how): each for each in advise(subject, capacity, wish, read_prices(), read_places())}


def test_a_machine_for_a_steady_load() -> None:
    """2100 requests/s at 70 % of 1000 a core: three cores, two c6i.large at 0.085 (t3 may use 0.8 of its cores all day: four at 0.0208 are cheaper)."""
    option = asked(Wish(requests_per_second=2100))["systemd", "", "always running"]
    assert option.size == "4 x t3.small"
    assert option.monthly is not None
    assert abs(option.monthly - 4 * 730 * 0.0208) < 1e-6
    assert option.suits
    assert option.command == "aweigh deploy fraud:3 --to systemd --variant onnx --load 2100"


def test_a_function_is_sized_by_memory_which_brings_its_share_of_a_core() -> None:
    """128 MiB are 128/1769 of a core: 1 ms becomes 13.8 ms, which 'p99 <= 5ms' does not allow; 384 MiB make it 4.6 ms."""
    slow = asked(Wish(requests_per_second=10))["lambda", "", "from zero"]
    assert slow.arithmetic[1].startswith("memory while answering")
    quick = asked(Wish(requests_per_second=10, objective=parse_objective("p99 <= 5ms")))["lambda", "", "from zero"]
    assert quick.suits
    assert quick.size == "384 MiB"
    assert "10 requests/s x 4.607ms" in quick.reasons[1]


def test_a_start_that_takes_longer_than_the_objective_rules_sleeping_out_where_there_are_quiet_times() -> None:
    objective = parse_objective("p99 <= 20ms")
    found = asked(Wish(requests_per_second=5, busy=0.2, objective=objective))
    assert found["cloud-run", "", "from zero"].against == (
        "after a quiet time the first request waits 500ms for a start, more than p99 <= 20ms",
    )
    assert found["cloud-run", "", "one kept ready"].suits
    assert asked(Wish(requests_per_second=5, objective=objective))["cloud-run", "", "from zero"].suits


def test_what_rules_targets_out_by_name() -> None:
    large = asked(
        Wish(), capacity=msgspec.structs.replace(CAPACITY, memory_mib=9000), subject=msgspec.structs.replace(SUBJECT, size_mib=11000.0)
    )
    assert "it takes 11264 MiB of memory, of 10240 that there are" in large["lambda", "", "from zero"].against
    assert "image and model take 11300 MiB, of 10240 that may be" in large["lambda", "", "from zero"].against
    card = asked(Wish(), subject=msgspec.structs.replace(SUBJECT, gpu="cuda"))
    assert not card["lambda", "", "from zero"].suits
    assert card["systemd", "", "always running"].size == "1 x g5.xlarge"
    assert card["vertex", "", "always running"].against == ("no machine with a card of the table of prices has 0.4 GiB",)
    old = asked(Wish(), subject=msgspec.structs.replace(SUBJECT, glibc="2.39"))
    assert old["lambda", "", "from zero"].against == ("its library needs glibc 2.39, its machines have 2.34",)
    assert old["cloud-run", "", "from zero"].suits


def test_a_model_that_is_too_slow_for_the_objective_suits_nowhere() -> None:
    found = asked(Wish(objective=parse_objective("p99 <= 500us")))
    assert not any(option.suits for option in found.values())


def words(option: Option) -> str:
    """What its command says behind the load."""
    return option.command.partition("--load ")[2].partition(" ")[2]


def test_the_command_says_what_was_reckoned() -> None:
    """Of a model of 128 MiB; a machine answers with one core: 2100 requests/s take three machines."""
    found = asked(Wish(requests_per_second=2100, capacity="our capacity.json", objective=parse_objective("p99 <= 5ms")))
    said = "--objective 'p99 <= 5ms' --capacity 'our capacity.json'"
    assert words(found["lambda", "", "one kept ready"]) == f"{said} --set provisioned=1 --set memory_mib=384"
    assert words(found["lambda", "", "from zero"]) == f"{said} --set memory_mib=384"
    assert words(found["cloud-run", "", "from zero"]) == f"{said} --scale 0..3 --set memory_mib=512 --image ADDRESS"
    assert words(found["vertex", "", "always running"]) == f"{said} --scale 3 --set machine=e2-standard-2 --image ADDRESS"
    assert words(found["azureml", "", "always running"]) == f"{said} --scale 3 --set instance=Standard_F2s_v2"
    serverless = asked(Wish(requests_per_second=10))["sagemaker", "serverless", "from zero"]
    assert serverless.size == "1024 MiB"
    assert words(serverless) == "--set mode=serverless --set concurrency=1 --set role=ARN --image ADDRESS"


def test_what_the_runner_cannot_start_suits_no_place_that_starts_it() -> None:
    reason = "variant 'xgboost' runs by xgboost: the runner starts onnxruntime and litert alone"
    found = asked(Wish(), subject=msgspec.structs.replace(SUBJECT, no_runner=reason))
    for place in read_places():
        for key, option in found.items():
            if key[:2] == (place.target, place.mode):
                assert (f"it starts the runner: {reason}" in option.against) is place.runner
    assert {place.target for place in read_places() if place.runner} == {"lambda", "cloud-functions", "azureml"}


def test_what_an_archive_of_lambda_cannot_hold_goes_through_a_bucket_or_as_an_image() -> None:
    def of(size_mib: float, glibc: str = "2.28") -> Option:
        return asked(Wish(), subject=msgspec.structs.replace(SUBJECT, size_mib=size_mib, glibc=glibc))["lambda", "", "from zero"]

    assert "bucket" not in of(30.0).command
    assert of(60.0).command.endswith("--set bucket=NAME")
    assert of(230.0).command.endswith("--set package=image --image ADDRESS")
    assert of(230.0, "2.39").suits
    assert not of(30.0, "2.39").suits


def test_memory_that_takes_several_processors_is_paid_for_with_them() -> None:
    found = asked(Wish(requests_per_second=100), capacity=msgspec.structs.replace(CAPACITY, memory_mib=5000))
    assert found["cloud-run", "", "from zero"].size == "2 vCPU, 6.125 GiB"
    assert found["container-apps", "", "from zero"].size == "3.5 vCPU, 7 GiB"
    serverless = [
        asked(Wish(), capacity=msgspec.structs.replace(CAPACITY, memory_mib=size))["sagemaker", "serverless", "from zero"]
        for size in (4700, 4800)
    ]
    assert serverless[0].suits
    assert serverless[1].against == ("it takes 6272 MiB of memory, of 6144 that there are",)


def test_a_budget_and_the_order() -> None:
    options = advise(SUBJECT, CAPACITY, Wish(requests_per_second=1, busy=0.1, budget=5.0), read_prices(), read_places())
    suits = [option for option in options if option.suits]
    assert suits[0].target in {"lambda", "cloud-run", "sagemaker", "container-apps", "cloud-functions"}
    assert [option.monthly for option in suits] == sorted(option.monthly or 0.0 for option in suits)
    assert all(option.monthly is not None and option.monthly <= 5 for option in suits)
    over = next(option for option in options if option.target == "vertex")
    assert over.against == ("56.28 USD a month is more than the 5 of the budget",)


def test_every_place_is_a_target_with_a_price() -> None:
    prices, names = read_prices(), {row.name for row in plugins("target")}
    later = {"systemd", "lambda", "cloud-run", "cloud-functions", "container-apps", "sagemaker", "vertex", "azureml", "kubernetes"}
    for place in read_places():
        assert prices.find(place.price or place.target, place.mode) is not None
        assert place.target in names | later
