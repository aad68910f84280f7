"""Which config is in force: the deployed one, or the last good one while that is refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.controller.dependencies import Dependencies
from deployments.controller.runningconfig import RunningConfig
from deployments.errors import ConfigError
from deployments.store.store import FleetStore
from deployments.userconfig import ModelsSpec
from tests.documents import REPOSITORY
from tests.fleetstores import migrated
from tests.lines import kept_lines
from tuning.errors import ConfigError as SpellingError

GOOD: dict[str, Any] = {"models": {"wine": {"max_batch_size": 8}}}
OTHER: dict[str, Any] = {"models": {"wine": {"traffic": {"champion": 90, "challenger": 10}}}}
UNREGISTERED: dict[str, Any] = {"models": {"wime": {}}}
MISSPELT: dict[str, Any] = {"model": {}}
LINES = "user_config.models.wime: not registered\nuser_config.models.wime: nor meant"


class Controllers:
    """One after the other over a store, with a registry that the test writes."""

    def __init__(self, store: FleetStore) -> None:
        self.store = store
        self.registered = {"wine"}
        self.registry_answers = True
        self.store_answers = True
        self.start()

    def start(self) -> None:
        """Have the present one end, and a new one start."""
        self.config = RunningConfig(self.store, Dependencies().call, self._is_restored, self._check)

    def take(self, user_config: dict[str, Any]) -> ModelsSpec:
        return asyncio.run(self.config.take(user_config))

    def look_again(self) -> ModelsSpec | None:
        return asyncio.run(self.config.look_again())

    async def _is_restored(self) -> bool:
        return self.store_answers

    async def _check(self, spec: ModelsSpec) -> bool:
        if not self.registry_answers or not self.store_answers:
            return False
        if spec.models.keys() - self.registered:
            raise ConfigError(LINES)
        return True


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Controllers]:
    store = FleetStore(migrated(tmp_path / "fleet.db"), "one")
    yield Controllers(store)
    store.close()


def spec(user_config: dict[str, Any]) -> ModelsSpec:
    return ModelsSpec.load(user_config)


@pytest.mark.parametrize("bad", [UNREGISTERED, MISSPELT], ids=["unregistered", "misspelt"])
def test_a_fleet_s_first_config_must_be_good(fleet: Controllers, bad: dict[str, Any]) -> None:
    with pytest.raises((ConfigError, SpellingError), match="user_config"):
        fleet.take(bad)

    assert fleet.store.load_config() is None


@pytest.mark.parametrize("bad", [UNREGISTERED, MISSPELT], ids=["unregistered", "misspelt"])
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_refused_config_leaves_the_good_one_in_force(
    fleet: Controllers, bad: dict[str, Any], restarts: bool
) -> None:
    fleet.take(GOOD)

    if restarts:
        fleet.start()

    assert fleet.take(bad) == spec(GOOD)
    assert fleet.config.refusal.startswith("user_config")
    fleet.start()
    assert fleet.take(bad) == spec(GOOD)


def test_a_good_config_ends_the_refusal(fleet: Controllers) -> None:
    fleet.take(GOOD)
    fleet.take(UNREGISTERED)

    assert fleet.take(OTHER) == spec(OTHER)
    assert fleet.config.refusal == ""
    fleet.start()
    assert fleet.take(UNREGISTERED) == spec(OTHER)


def test_a_refused_config_is_in_force_once_its_models_are_registered(fleet: Controllers) -> None:
    fleet.take(GOOD)
    fleet.take(UNREGISTERED)
    assert fleet.look_again() is None

    fleet.registered |= {"wime"}

    assert fleet.look_again() == spec(UNREGISTERED)
    assert (fleet.config.refusal, fleet.look_again()) == ("", None)


def test_a_refusal_is_logged_once_in_one_line(fleet: Controllers) -> None:
    fleet.take(GOOD)

    with kept_lines("deployments.controller.runningconfig") as lines:
        fleet.take(UNREGISTERED)
        fleet.look_again()

    shown = LINES.replace("\n", "; ")
    assert [(line.levelname, line.getMessage()) for line in lines] == [
        ("ERROR", f"the deployed config is refused, the last good one stays: {shown}")
    ]


def test_a_refused_config_stays_out_while_the_registry_is_away(fleet: Controllers) -> None:
    fleet.take(GOOD)
    fleet.take(UNREGISTERED)

    fleet.registry_answers = False
    assert fleet.look_again() is None
    assert fleet.config.refusal == LINES

    fleet.start()
    assert fleet.take(UNREGISTERED) == spec(GOOD)
    assert "until the model registry answers" in fleet.config.refusal
    fleet.registry_answers = True
    fleet.look_again()
    assert fleet.config.refusal == LINES


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_config_in_force_needs_no_registry(fleet: Controllers, restarts: bool) -> None:
    fleet.take(GOOD)
    fleet.registry_answers = False

    if restarts:
        fleet.start()

    assert fleet.take(GOOD) == spec(GOOD)
    assert fleet.take(OTHER) == spec(OTHER)
    assert fleet.config.refusal == ""


def test_without_the_store_nothing_fails_and_the_config_is_kept_later(fleet: Controllers) -> None:
    fleet.store_answers = False
    path = fleet.store.engine.url.database
    assert path is not None
    Path(path).unlink()
    fleet.store.close()

    assert fleet.take(GOOD) == spec(GOOD)
    assert fleet.take(MISSPELT) == spec(GOOD)

    migrated(Path(path))
    fleet.store.close()
    fleet.store_answers = True
    fleet.look_again()
    fleet.start()
    assert fleet.take(MISSPELT) == spec(GOOD)


def test_a_good_config_of_another_release_is_left_out(fleet: Controllers) -> None:
    fleet.store.save_config('{"models": {}, "gone": 1}')

    with pytest.raises(ConfigError, match="wime"):
        fleet.take(UNREGISTERED)


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "configs").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_config_is_read_as_it_was_kept(fleet: Controllers, path: Path) -> None:
    applications = yaml.safe_load(path.read_text()).get("applications", [])
    deployments = [each for app in applications for each in app.get("deployments", [])]
    for user_config in (each["user_config"] for each in deployments if "user_config" in each):
        fleet.registered |= user_config["models"].keys()

        good = fleet.take(user_config)

        fleet.start()
        assert fleet.take(MISSPELT) == good
