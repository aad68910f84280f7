"""The embedded Serve config is one of ours."""

from collections.abc import Sequence

from kuberay.checks.capacity import check_capacity
from kuberay.checks.embedded import check_embedded
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import SERVICE, Change, assert_caught, breaks, broken_copies, changed

BROKEN = [
    breaks(*SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {expres: {}}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "is none of configs/", why="another-text"),
    breaks(*SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {expres: {}}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "expres", why="misspelt-argument"),
    breaks(*SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {store_url: 'mongo://x'}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "store_url", why="does-not-build"),
    breaks(*SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', deployments: [{name: Controller, num_replica: 3, user_config: {models: {}}}]}]", "num_replica", why="key-that-serve-drops"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_embedded, changed(development, *change), fault, project)


def test_a_config_that_cannot_be_read_is_one_fault(
    development: Sequence[Manifest], project: Project
) -> None:
    models = "{m: {traffic: {champion: 90, challenger: 20}}}"
    text = (
        "applications: [{name: fleet, import_path: 'deployments.fleet:build', deployments:"
        f" [{{name: Controller, user_config: {{models: {models}}}}}]}}]"
    )
    broken = changed(development, *SERVICE, "spec.serveConfigV2", text)

    assert list(check_capacity(broken, project)) == []
    assert "sum to 110, must sum to 100" in " ".join(map(str, check_embedded(broken, project)))
