"""The examples show the outputs in their current form; the tests of the report read them."""

import csv
import json
from pathlib import Path

from services.contract.results import DESCRIPTION_COLUMNS, Rules, RunSummary, Segmentation

EXAMPLES = Path(__file__).parent / "examples"


def test_the_examples_are_valid():
    assert csv.DictReader((EXAMPLES / "description.csv").open()).fieldnames == list(DESCRIPTION_COLUMNS)
    Rules.model_validate_json((EXAMPLES / "rules.json").read_bytes())
    Segmentation.model_validate_json((EXAMPLES / "segmentation.json").read_bytes())
    for entry in json.loads((EXAMPLES / "history.json").read_bytes())["runs"]:
        RunSummary.model_validate(entry)
