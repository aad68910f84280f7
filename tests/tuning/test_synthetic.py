from pathlib import Path

import pandas as pd
import pytest

from tuning.__main__ import main
from tuning.data import DataSpec, load_table
from tuning.errors import ConfigError
from tuning.synthetic import Recipe, make_frame, write_frame


def test_frame_has_what_the_recipe_says() -> None:
    frame = make_frame(Recipe(n_rows=200, n_numbers=3, n_text=2, n_classes=3, missing=0.1))

    assert list(frame.columns) == ["x0", "x1", "x2", "c0", "c1", "label"]
    assert len(frame) == 200
    assert set(frame["label"]) == {"class-0", "class-1", "class-2"}
    assert set(frame["c0"].dropna()) == {"low", "medium", "high", "extreme"}
    assert 0.05 < frame.drop(columns="label").isna().to_numpy().mean() < 0.15
    assert frame["label"].notna().all()


def test_equal_recipes_give_equal_frames() -> None:
    pd.testing.assert_frame_equal(make_frame(Recipe(n_rows=50)), make_frame(Recipe(n_rows=50)))


@pytest.mark.parametrize("name", ["made.csv", "made.parquet"])
def test_written_frame_can_be_swept(tmp_path: Path, name: str) -> None:
    write_frame(make_frame(Recipe(n_rows=60, n_text=1, missing=0.2)), tmp_path / name)

    table = load_table(DataSpec(path=tmp_path / name, target="label"))

    assert isinstance(table.rows, pd.DataFrame)
    assert table.classes == ("class-0", "class-1")


def test_other_endings_and_missing_folders_are_refused(tmp_path: Path) -> None:
    frame = make_frame(Recipe(n_rows=20))

    with pytest.raises(ConfigError, match=r"ending '\.xlsx', allowed: \.csv, \.parquet"):
        write_frame(frame, tmp_path / "made.xlsx")
    with pytest.raises(ConfigError, match="no such folder"):
        write_frame(frame, tmp_path / "gone" / "made.csv")


def test_command_refuses_impossible_numbers_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status = main(["generate-data", str(tmp_path / "made.csv"), "--classes", "1"])

    assert status == 2
    assert capsys.readouterr().err == "--classes: 1, allowed: 2 to 1000\n"
