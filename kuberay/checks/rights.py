"""Whether accounts may ask the API server for what they need, and for nothing more."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

from kuberay.checks.objects import Fault, Manifest, name_of, of_kind, place, pods
from kuberay.checks.project import Project

Rights = Mapping[tuple[str, str], frozenset[str]]
"""Verbs by API group and resource."""

AUTOSCALER: Rights = {
    ("", "pods"): frozenset({"get", "list", "watch", "patch"}),
    ("ray.io", "rayclusters"): frozenset({"get", "patch"}),
}
"""As KubeRay's own role for it has them (BuildRole in its rbac.go)."""

ROLES = ("Role", "ClusterRole")

GRANTED = AUTOSCALER.keys() | {
    ("", "pods/log"),
    ("", "events"),
    ("ray.io", "rayjobs"),
    ("ray.io", "raycronjobs"),
    ("ray.io", "rayservices"),
}
"""What roles may speak of: the autoscaler's, and what people who run sweeps do."""


def check_rights(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Compare what each pod's account is granted with what runs in the pod."""
    granted = {
        name_of(account): _granted(account, objects)
        for account in of_kind(objects, "ServiceAccount")
    }
    for pod in pods(objects):
        needed = AUTOSCALER if pod.scales else {}
        account = str(pod.spec.get("serviceAccountName"))
        has = granted.get(account, {})
        for group, resource in sorted(needed.keys() | has.keys()):
            key = group, resource
            missing = needed.get(key, frozenset()) - has.get(key, frozenset())
            needless = has.get(key, frozenset()) - needed.get(key, frozenset())
            for verbs, what in (
                (missing, "may not {} {}, as its autoscaler does"),
                (needless, "may {} {}, which nothing in the pod does"),
            ):
                if verbs:
                    said = what.format(", ".join(sorted(verbs)), resource)
                    yield Fault(pod.where, f"account {account!r} {said}")
        if needed and not pod.spec.get("automountServiceAccountToken", _mounts(account, objects)):
            yield Fault(pod.where, "automountServiceAccountToken: the autoscaler needs the token")
    for role in of_kind(objects, *ROLES):
        for group, resource in sorted(_rules(role).keys() - GRANTED):
            what = f"{resource!r} of {group or 'the core group'!r}: nobody here needs it"
            yield Fault(place(role), what)


def _mounts(account: str, objects: Sequence[Manifest]) -> bool:
    return all(
        each.get("automountServiceAccountToken", True)
        for each in of_kind(objects, "ServiceAccount")
        if name_of(each) == account
    )


def _granted(account: Manifest, objects: Sequence[Manifest]) -> Rights:
    home = account["metadata"].get("namespace")
    found: Rights = {}
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        space = binding["metadata"].get("namespace")
        subjects = {
            (each["kind"], each["name"], each.get("namespace", space))
            for each in binding.get("subjects", ())
        }
        if ("ServiceAccount", name_of(account), home) in subjects:
            for role in of_kind(objects, binding["roleRef"]["kind"]):
                if name_of(role) == binding["roleRef"]["name"]:
                    found = _together(found, _rules(role))
    return found


def _rules(role: Manifest) -> Rights:
    found: Rights = {}
    for rule in role["rules"]:
        keys = itertools.product(rule["apiGroups"], rule["resources"])
        found = _together(found, dict.fromkeys(keys, frozenset(rule["verbs"])))
    return found


def _together(one: Rights, other: Rights) -> Rights:
    none: frozenset[str] = frozenset()
    return {key: one.get(key, none) | other.get(key, none) for key in one.keys() | other.keys()}
