"""What becomes, in MLflow, of a sweep that is started anew before it was finished."""

from mlflow import MlflowClient

from tuning.home import Home
from tuning.mlflowfaults import reachable
from tuning.runs import trial_runs
from tuning.tracking import INTERRUPTED, SWEEP_ID, TRIAL_STATE


def abandon_run(home: Home, experiment: str, sweep_id: str) -> None:
    """Close the runs of a sweep that is started anew before it was finished.

    Raises:
        ConfigError: MLflow cannot be reached or used.
    """
    with reachable(home):
        client = MlflowClient(home.tracking_uri, home.registry_uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return
        ours = f"tags.`{SWEEP_ID}` = '{sweep_id}'"
        for sweep in client.search_runs([found.experiment_id], ours):
            for trial in trial_runs(client, sweep):
                if trial.info.status == "RUNNING":
                    client.set_tag(trial.info.run_id, TRIAL_STATE, INTERRUPTED)
                    client.set_terminated(trial.info.run_id, "KILLED")
            if sweep.info.status == "RUNNING":
                client.set_terminated(sweep.info.run_id, "KILLED")
