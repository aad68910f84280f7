from pathlib import Path

import pytest

from tuning.authentication import present_token

ADDRESS = {"RAY_ADDRESS": "127.0.0.1:6379"}
TOKEN = {"RAY_AUTH_TOKEN": "secret"}


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        pytest.param({**ADDRESS, **TOKEN}, "token", id="address-and-token"),
        pytest.param({**ADDRESS, "RAY_AUTH_TOKEN_PATH": "/file"}, "token", id="token-in-a-file"),
        pytest.param(ADDRESS, None, id="no-token"),
        pytest.param(TOKEN, None, id="a-ray-of-its-own"),
        pytest.param({"RAY_ADDRESS": "local", **TOKEN}, None, id="asked-for-its-own"),
        pytest.param(
            {**ADDRESS, **TOKEN, "RAY_AUTH_MODE": "disabled"}, "disabled", id="user-decides"
        ),
    ],
)
def test_present_token(
    environment: dict[str, str], mode: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    present_token(environment)

    assert environment.get("RAY_AUTH_MODE") == mode


def test_token_of_rays_own_making_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    environment = dict(ADDRESS)

    present_token(environment)

    assert environment["RAY_AUTH_MODE"] == "token"
