"""The shipped logging configs agree with each other, and with what is logged."""

import json
from typing import Any

import pytest
import yaml

from tests.documents import REPOSITORY, rows, section

LOGGING = REPOSITORY / "configs" / "logging"
INDEX = "rayfleet-logs"
LOGS = "/tmp/ray/session_latest/logs/serve/*.log"
JOBS = "/tmp/ray/session_latest/logs/job-driver-*.log"

UNDOCUMENTED = {"@timestamp", "route", "actor_name", "task_id", "task_name", "task_func_name"}
"""What Elasticsearch or Ray adds, and nobody looks for."""

SHIPPERS = ["fluent-bit.yaml", "logstash.conf", "rsyslog.conf"]


def mapped() -> dict[str, Any]:
    template = json.loads((LOGGING / "elasticsearch" / "index-template.json").read_text())
    assert template["index_patterns"] == [f"{INDEX}*"]
    fields: dict[str, Any] = template["template"]["mappings"]["properties"]
    return fields


@pytest.mark.parametrize("name", SHIPPERS)
def test_shippers_read_the_same_files_and_write_to_the_same_index(name: str) -> None:
    text = (LOGGING / name).read_text()

    assert LOGS in text
    assert JOBS in text
    assert INDEX in text
    assert "create" in text  # data streams take nothing else
    assert text.splitlines()[0].startswith("# ")


def test_fluent_bit_s_parser_is_there() -> None:
    config = yaml.safe_load((LOGGING / "fluent-bit.yaml").read_text())
    parsers = (LOGGING / config["service"]["parsers_file"]).read_text()

    (source,) = config["pipeline"]["inputs"]
    assert source["parser"] in parsers.split()


def test_fluent_bit_ships_no_line_that_its_parser_did_not_read() -> None:
    config = yaml.safe_load((LOGGING / "fluent-bit.yaml").read_text())

    # Where a parser fails, `tail` puts the whole line into this field.
    (grep,) = config["pipeline"]["filters"]
    assert (grep["name"], grep["match"], grep["exclude"]) == ("grep", "*", "log .")
    assert "log" not in mapped()


@pytest.mark.parametrize("name", ["kubernetes", "production", "compose"])
def test_deployments_write_what_shippers_can_read(name: str) -> None:
    config = yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text())

    (application,) = config["applications"]
    assert application["args"]["logs"] == {"format": "json", "requests": "failed"}


def test_the_template_names_its_pipeline() -> None:
    template = json.loads((LOGGING / "elasticsearch" / "index-template.json").read_text())
    pipeline = json.loads((LOGGING / "elasticsearch" / "pipeline.json").read_text())

    name = template["template"]["settings"]["index.default_pipeline"]
    assert f"_ingest/pipeline/{name} " in pipeline["description"]
    assert {step for each in pipeline["processors"] for step in each} == {"date", "set"}


def test_every_documented_field_is_mapped_and_the_other_way_round() -> None:
    table = rows(section(REPOSITORY / "docs" / "observability.md", "Logs"))
    start = table.index(["field", "what it is"]) + 1
    documented = {name.strip("` ") for row in table[start:] for name in row[0].split(",")}

    assert documented <= mapped().keys()
    assert mapped().keys() - documented == UNDOCUMENTED


def test_what_identifies_a_request_is_mapped_as_a_keyword() -> None:
    fields = mapped()

    for name in ("request_id", "trace_id", "model", "version", "track", "code"):
        assert fields[name] == {"type": "keyword"}


def saved_objects() -> list[dict[str, Any]]:
    text = (LOGGING / "kibana" / "rayfleet.ndjson").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_kibana_s_searches_use_the_view_that_comes_along() -> None:
    (view,) = [each for each in saved_objects() if each["type"] == "index-pattern"]
    searches = [each for each in saved_objects() if each["type"] == "search"]

    assert view["attributes"]["title"] == f"{INDEX}*"
    assert searches
    for search in searches:
        source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        (reference,) = search["references"]
        assert (reference["type"], reference["id"]) == ("index-pattern", view["id"])
        assert source["indexRefName"] == reference["name"]
        assert set(search["attributes"]["columns"]) <= mapped().keys()
