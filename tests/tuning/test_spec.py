import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.tuning.sequential import FOREST
from tuning.errors import ConfigError
from tuning.spec import SweepSpec, check_sweep, read_sweep, validate_file

SWEEPS = sorted(Path("configs/sweeps").glob("*.yaml"))

GOOD = """\
name: good
data: {bundled: iris}
trainer: sklearn
space:
  estimator: logistic_regression
  C: {loguniform: [0.1, 10.0]}
n_trials: 2
"""

NO_LOG_LOSS = (
    "predicts no probabilities, so it never reports 'log_loss', allowed: adaboost, decision_tree, "
    "extra_trees, gradient_boosting, knn, logistic_regression, mlp, random_forest"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(textwrap.dedent(text))
    return path


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweep_is_valid(path: Path) -> None:
    spec = validate_file(path)

    assert spec.name == path.stem


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_shipped_sweep_begins_with_the_command_that_runs_it(path: Path) -> None:
    first, *_ = path.read_text().splitlines()

    assert first.startswith("# ")
    assert first.endswith(f": python -m tuning {path}")


def test_there_are_shipped_sweeps() -> None:
    assert {"breast-cancer", "digits", "wine"} <= {path.stem for path in SWEEPS}


@pytest.mark.ray  # starts an interpreter
def test_validation_imports_no_heavy_framework() -> None:
    program = (
        "import sys, pathlib\n"
        "from tuning.spec import validate_file\n"
        "for name in ('digits', 'wine'):\n"
        "    validate_file(pathlib.Path(f'configs/sweeps/{name}.yaml'))\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'ray', 'mlflow'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.ray  # as above
def test_a_process_that_only_fits_the_winner_imports_no_tune() -> None:
    program = "import sys, tuning.workload; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_model_and_experiment_have_defaults(tmp_path: Path) -> None:
    spec = read_sweep(write(tmp_path, GOOD))

    assert (spec.model, spec.experiment) == ("good", "rayfleet")


def test_hash_ignores_how_fast_a_sweep_runs_and_nothing_else(tmp_path: Path) -> None:
    spec = read_sweep(write(tmp_path, GOOD))
    faster = SweepSpec.model_validate({**spec.model_dump(by_alias=True), "max_concurrent": 8})
    other = SweepSpec.model_validate({**spec.model_dump(by_alias=True), "seed": 1})

    assert faster.tied() == spec.tied()
    assert other.tied() != spec.tied()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(
            ("n_trials: 2", "n_trails: 2"),
            "unknown key 'n_trails' (did you mean 'n_trials'?), allowed: budget, "
            "checkpoint_every_s, constraints, data, epochs, experiment, folds, max_concurrent, "
            "metric, mode, model, n_trials, name, objectives, options, require_better, "
            "resources, scheduler, searcher, seed, space, traces, trainer, warm_start",
            id="unknown-key",
        ),
        pytest.param(("n_trials: 2\n", ""), "n_trials: is missing", id="missing-key"),
        pytest.param(
            ("n_trials: 2", "n_trials: many"),
            "n_trials: 'many': should be a whole number",
            id="wrong-type",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: true"),
            "n_trials: true: should be a whole number",
            id="boolean-as-a-number",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: '2'"),
            "n_trials: '2': should be a whole number",
            id="text-as-a-number",
        ),
        pytest.param(
            ("loguniform: [0.1, 10.0]", "choice: [1.0, abc]"),
            "space: logistic_regression: The 'C' parameter of LogisticRegression must be a float"
            " in the range (0.0, inf]. Got 'abc' instead.",
            id="value-that-the-estimator-refuses",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 0"), "n_trials: 0: should be greater than 0", id="range"
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nresources: {num_workers: 0}"),
            "resources.num_workers: 0: should be greater than 0",
            id="no-workers",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nresources: {num_workers: 2}"),
            "resources.num_workers: 2: the sklearn trainer trains in one process, allowed: 1",
            id="workers-that-cannot-be-joined",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nresources: {placement_strategy: pack}"),
            "resources.placement_strategy: 'pack': should be 'PACK', 'SPREAD', 'STRICT_PACK' "
            "or 'STRICT_SPREAD'",
            id="unknown-placement-strategy",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nresources: {gpu: 1.5}"),
            "resources: gpu: 1.5, allowed: a fraction of one GPU, or whole GPUs",
            id="one-and-a-half-gpus",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: tests.tuning.fakes:OddBackend"),
            "trainer: 'tests.tuning.fakes:OddBackend': backend 'jax', allowed: tensorflow, torch",
            id="unknown-backend",
        ),
        pytest.param(
            ("loguniform", "lognormal"),
            "space.C: unknown distribution 'lognormal' (did you mean 'loguniform'?), "
            "allowed: choice, int, loguniform, uniform",
            id="unknown-distribution",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nmetric: auc"),
            "metric: 'auc': the sklearn trainer never reports it, "
            "allowed: accuracy, balanced_accuracy, f1_macro, log_loss",
            id="metric-never-reported",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: sklern"),
            "trainer: 'sklern': unknown, allowed: sklearn, tensorflow, torch, "
            "or package.module:factory",
            id="unknown-trainer",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: no.such:thing"),
            "trainer: 'no.such:thing': cannot be imported: No module named 'no'",
            id="trainer-path",
        ),
        pytest.param(
            ("bundled: iris", "bundled: irises"),
            "data.bundled: 'irises': should be 'breast-cancer', 'diabetes', 'digits', 'iris' or "
            "'wine'",
            id="unknown-data-set",
        ),
        pytest.param(
            ("{bundled: iris}", "{path: nowhere.csv, target: y}"),
            "data.path: 'nowhere.csv': no such file",
            id="missing-file",
        ),
        pytest.param(
            ("{bundled: iris}", "{path: nowhere.txt, target: y}"),
            "data: path: 'nowhere.txt': allowed endings: .csv, .parquet",
            id="unknown-format",
        ),
        pytest.param(
            ("{bundled: iris}", "{path: nowhere.csv}"),
            "data: target: missing, a file needs the name of its label column",
            id="file-without-target",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nfolds: {n_splits: 41}"),
            "folds.n_splits: 41: the smallest class has 40 training rows, allowed: 2 to 40",
            id="more-folds-than-rows",
        ),
        pytest.param(
            ("  C:", "  c:"),
            "space: logistic_regression: unknown key 'c', allowed: C, "
            "class_weight, dual, fit_intercept, intercept_scaling, l1_ratio, max_iter, n_jobs, "
            "penalty, random_state, solver, tol, verbose, warm_start",
            id="parameter-the-estimator-lacks",
        ),
        pytest.param(
            ("estimator: logistic_regression", "estimator: perceptron"),
            "space: estimator: 'perceptron', allowed: adaboost, decision_tree, extra_trees, "
            "gradient_boosting, knn, logistic_regression, mlp, random_forest, svm",
            id="unknown-estimator",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nscheduler: {grace_period: 6}"),
            "scheduler.grace_period: 6, allowed: 1 to 5 (folds times epochs)",
            id="grace-beyond-the-end",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nscheduler: {kind: pbt}\nbudget: {wall_s: 60.0}"),
            "budget.wall_s: 60: all trials of a pbt population begin at once, and a budget keeps "
            "trials from beginning, allowed: null",
            id="budget-of-a-population",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nscheduler: {kind: hyperbands}"),
            "scheduler.kind: 'hyperbands': should be 'asha', 'hyperband', 'median', "
            "'race', 'pbt' or 'fifo'",
            id="unknown-scheduler",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nconstraints: [p99_ms < 5]"),
            "constraints[0]: 'p99_ms < 5': should be METRIC <= NUMBER or METRIC >= NUMBER",
            id="constraint-that-is-none",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nconstraints: [p99_ms <= 5 MB]"),
            "constraints[0]: 'p99_ms <= 5 MB': only metrics named ..._bytes are compared with MB",
            id="constraint-of-another-unit",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nconstraints: [model_bytes <= 1 kiB]"),
            "constraints[0]: 'model_bytes <= 1 kiB': unit 'kiB', allowed: kB, KB, MB, GB, KiB, "
            "MiB, GiB",
            id="constraint-of-an-unknown-unit",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nconstraints: [latency <= 5]"),
            "constraints: 'latency': the sklearn trainer never reports it, allowed: accuracy, "
            "balanced_accuracy, f1_macro, log_loss, model_bytes, p50_ms, p99_ms",
            id="constraint-on-what-nobody-measures",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nobjectives: [{metric: p99_ms, mode: min}]"),
            "scheduler.kind: 'asha': stops trials by one metric, allowed with objectives: fifo",
            id="objectives-with-early-stopping",
        ),
        pytest.param(
            (
                "n_trials: 2",
                "n_trials: 2\nscheduler: {kind: fifo}\nobjectives: [{metric: accuracy}]",
            ),
            "objectives: 'accuracy' stands twice",
            id="objective-twice",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nsearcher: {kind: cmaes}"),
            "space: one number, where the cmaes searcher needs at least two; allowed: tpe, gp, "
            "nsga2, qmc, grid, random",
            id="one-number-for-cmaes",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 9\nsearcher: {kind: grid}"),
            "n_trials: 9: the grid has 5 configurations, allowed: 1 to 5",
            id="more-trials-than-the-grid-has",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nsearcher: {kind: qmc}\nwarm_start: other"),
            "warm_start: 'other': the qmc searcher learns from no results, allowed: tpe, gp, "
            "cmaes, nsga2",
            id="warm-start-of-a-design",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nscheduler: {kind: race}\nfolds: {n_splits: 2}"),
            "scheduler.kind: 'race': needs 3 folds or more, not 2",
            id="race-of-two-folds",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nbudget: {cost: 5, cost_metric: euros}"),
            "budget.cost_metric: 'euros': the sklearn trainer never reports it, allowed: accuracy,"
            " balanced_accuracy, f1_macro, log_loss, model_bytes, p50_ms, p99_ms",
            id="cost-that-nobody-reports",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nfolds: {kind: grouped}"),
            "folds.kind: 'grouped': needs data.group, the column of the groups",
            id="groups-without-a-column",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nfolds: {kind: time_series}"),
            "folds.kind: 'time_series': fold 0 of 5 fits no row of class number 1; fewer folds, "
            "or another kind, may have one",
            id="series-sorted-by-class",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nfolds: {kind: time_series, repeats: 2}"),
            "folds: repeats: 2: time_series folds are the same each time, allowed: 1",
            id="repeats-without-a-shuffle",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nfolds: {repeats: 1000000}"),
            "folds.repeats: 1000000: should be less than or equal to 100",
            id="repeats-without-end",
        ),
        pytest.param(
            ("name: good", "name: good\nmodel: a--v1"),
            "model: 'a--v1': a model has no '--' in its name",
            id="model-that-cannot-be-served",
        ),
        pytest.param(
            ("name: good", "name: not good"),
            "name: 'not good': should be letters, digits and . _ -, first a letter or digit",
            id="name-that-is-no-folder",
        ),
        pytest.param(
            ("bundled: iris", "bundled: diabetes"),
            "folds.kind: 'stratified': a regression has no classes, allowed: kfold, grouped, "
            "time_series",
            id="regression-by-classes",
        ),
        pytest.param(
            (
                "logistic_regression\n  C: {loguniform: [0.1, 10.0]}",
                "{choice: [knn, svm]}\nmetric: log_loss",
            ),
            f"space: estimator: 'svm': {NO_LOG_LOSS}",
            id="metric-of-some-estimators",
        ),
        pytest.param(
            (
                "logistic_regression\n  C: {loguniform: [0.1, 10.0]}",
                "svm\nscheduler: {kind: fifo}\nobjectives: [{metric: log_loss, mode: min}]",
            ),
            f"space: estimator: 'svm': {NO_LOG_LOSS}",
            id="objective-of-some-estimators",
        ),
        pytest.param(
            ("{bundled: iris}", "{bundled: diabetes}\nfolds: {kind: kfold}"),
            "metric: 'accuracy': the sklearn trainer never reports it, allowed: r2, rmse, mse, mae",
            id="regression-by-accuracy",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: sklearn\noptions: {depth: 3}"),
            "options: ['depth']: the sklearn trainer has none",
            id="options-the-trainer-lacks",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nseed: 4294967296"),
            "seed: 4294967296: should be less than or equal to 4294967295",
            id="seed-beyond-numpy",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nresources: {cpu: .inf}"),
            "resources.cpu: inf: should be a finite number",
            id="infinite-cores",
        ),
        pytest.param(
            ("n_trials: 2", "n_trials: 2\nexperiment: a/../b"),
            "experiment: 'a/../b': allowed: printable text whose parts between slashes are "
            "neither empty nor dots",
            id="experiment-that-leaves-its-folder",
        ),
        pytest.param(
            ("C: {loguniform: [0.1, 10.0]}", "C: {choice: [[1, 2], [3]]}"),
            "space.C: choice: [1, 2]: should be text, a number, a boolean or null",
            id="choice-of-lists",
        ),
        pytest.param(
            ("C: {loguniform: [0.1, 10.0]}", "C: {int: [1, 100000000000000000000000]}"),
            "space.C: int: [1, 100000000000000000000000]: allowed: bounds up to 1e+15",
            id="bounds-beyond-exactness",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: tests.tuning.fakes:OddMetric"),
            "metric: 'acc@1': MLflow cannot store it, allowed: up to 250 letters, digits, spaces "
            "and any of _ - . :",
            id="metric-that-mlflow-refuses",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: tests.tuning.fakes:OddShape"),
            "trainer: 'tests.tuning.fakes:OddShape': wants rows of shape (3, 3), the data has "
            "4 columns",
            id="shape-that-the-data-lacks",
        ),
        pytest.param(
            ("trainer: sklearn", "trainer: tests.tuning.fakes:OddCheck"),
            "space: KeyError: 'depth'",
            id="check-that-raises",
        ),
        pytest.param(
            ("name: good", "name: good\nname: better"),
            "line 2: not valid YAML: key 'name' stands twice",
            id="key-twice",
        ),
    ],
)
def test_fault_is_one_line(tmp_path: Path, change: tuple[str, str], line: str) -> None:
    path = write(tmp_path, GOOD.replace(*change))

    with pytest.raises(ConfigError) as refusal:
        validate_file(path)

    assert str(refusal.value) == f"{path}: {line}"


def test_numbers_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    text = GOOD.replace("loguniform: [0.1, 10.0]", "loguniform: [1e-3, 1E2]")
    text = text.replace("n_trials: 2", "n_trials: 2\nscheduler: {reduction_factor: 4e0}")

    spec = read_sweep(write(tmp_path, text))

    assert spec.space["C"].loguniform == (0.001, 100.0)  # type: ignore[union-attr]
    assert spec.scheduler.reduction_factor == 4.0


def test_every_fault_of_a_file_gets_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("n_trials: 2", "n_trials: 0\nmode: up\nseed: -1"))

    with pytest.raises(ConfigError) as refusal:
        validate_file(path)

    assert [line.split(": ")[1] for line in str(refusal.value).splitlines()] == [
        "mode",
        "n_trials",
        "seed",
    ]


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        validate_file(tmp_path / "gone.yaml")


def test_task_gives_images_to_a_convolutional_net() -> None:
    spec = read_sweep(Path("configs/sweeps/digits.yaml"))

    rows, labels = check_sweep(spec, "digits").holdout_rows

    assert rows.shape == (360, 1, 8, 8)
    assert str(getattr(rows, "dtype", "")) == "float32"
    assert labels.shape == (360,)


@pytest.mark.parametrize(
    ("column", "folds", "kind", "allowed"),
    [
        ("group", {}, "stratified", "grouped"),
        ("group", {"kind": "time_series"}, "time_series", "grouped"),
        ("time", {"kind": "kfold"}, "kfold", "time_series"),
    ],
)
def test_a_column_that_the_folds_do_not_heed_is_refused(
    column: str, folds: dict[str, str], kind: str, allowed: str
) -> None:
    data = {"path": "rows.csv", "target": "y", column: "c"}

    with pytest.raises(ConfigError) as refusal:
        SweepSpec.load({**FOREST, "name": "s", "data": data, "folds": folds}, where="s.yaml")

    assert str(refusal.value) == (
        f"s.yaml: data.{column}: 'c': {kind} folds do not heed it, allowed with folds.kind: "
        f"{allowed}"
    )
