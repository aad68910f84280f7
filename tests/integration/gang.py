"""A trial of several workers without Tune around it: what it reports, as JSON.

Started with a spec and parameters, as JSON; on the cluster of `RAY_ADDRESS`.
"""

import json
import sys

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tuning.gang import Gang
from tuning.spec import SweepSpec, check_sweep
from tuning.work import FoldsWork
from tuning.workload import make_workload


def main(spec_json: str, params_json: str) -> None:
    """Train together, and print every report's metrics."""
    spec = SweepSpec.load(json.loads(spec_json))
    workload = make_workload(check_sweep(spec, "gang"))
    ray.init(log_to_driver=False)
    place = placement_group([spec.resources.per_worker] * spec.resources.num_workers)
    ray.get(place.ready())
    gang = Gang(FoldsWork, workload, ray.put(workload), place)
    try:
        gang.call("begin", 0, json.loads(params_json), None)
        made = []
        while True:
            result = gang.call("step")
            if "error" in result:
                sys.exit(result["error"])
            made.append(dict(result["report"].metrics))
            if result["done"]:
                break
    finally:
        gang.disband()
        remove_placement_group(place)
    print(json.dumps(made))


if __name__ == "__main__":
    main(*sys.argv[1:])
