"""The committed dashboards are what the code writes, and ask for what there is."""

import re
from pathlib import Path

import pytest
import yaml

from dashboards.__main__ import FOLDER, main
from dashboards.boards import BOARDS
from dashboards.queries import queries
from dashboards.writing import decoded, encoded
from tests.configs.metrics import exposed, recorded
from tests.documents import REPOSITORY

PROVISIONING = REPOSITORY / "configs" / "monitoring" / "grafana" / "provisioning"


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.json"


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_file_is_what_the_code_writes(name: str) -> None:
    assert path_of(name).read_text() == encoded(BOARDS[name]().build())


@pytest.mark.parametrize(("arguments", "status"), [("--help", 0), ("--hlep", 2)])
def test_a_question_writes_no_file(
    arguments: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboards.__main__.BOARDS", {"a": lambda: pytest.fail("built")})

    with pytest.raises(SystemExit) as left:
        main([arguments])

    assert left.value.code == status


def test_no_other_file_is_there() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == BOARDS.keys()


@pytest.mark.parametrize("name", BOARDS)
def test_grafana_s_types_know_all_that_a_file_says(name: str) -> None:
    assert decoded(path_of(name).read_text()).uid == f"rayfleet-{name}"


def test_a_key_that_they_do_not_know_is_refused() -> None:
    text = path_of("fleet").read_text().replace('"tags": [', '"tagz": [', 1)

    with pytest.raises(ValueError, match="do not know"):
        decoded(text)


@pytest.mark.parametrize("name", BOARDS)
def test_queries_read_series_of_ours_that_exist(name: str) -> None:
    text = " ".join(queries(BOARDS[name]().build()))

    ours = set(re.findall(r"(?<![:\w])(?:ray_)?rayfleet_\w+", text))
    assert ours
    assert ours <= exposed()
    assert set(re.findall(r"\b(?:model|version):rayfleet_\w+:\w+", text)) <= recorded()


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_a_title_of_its_own(name: str) -> None:
    titles = [panel.title for panel in BOARDS[name]().build().panels or []]

    assert all(titles)
    assert len(titles) == len(set(titles))


def test_grafana_is_told_of_the_folder_and_of_prometheus() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "rayfleet.yaml").read_text())[
        "providers"
    ]
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]

    assert (provider["type"], source["type"]) == ("file", "prometheus")
