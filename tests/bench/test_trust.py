"""The short form of `make trust`: a few populations of each kind, with fixed seeds."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from bench import families, trust
from services.evaluate.structure import assess_structure

TABLE = np.random.default_rng(0).lognormal([6, 5, 8], [1.2, 1.5, 0.8], (2_000, 3))
STRUCTURELESS = families.structureless(TABLE)


def is_structured(family):
    features = families.draw(family, 1_500, seed=0)
    return assess_structure(features, trust.find_k(features), seed=0).is_structured


@pytest.mark.slow  # `tests/services/evaluate/test_structure.py` tests the same with other populations
@pytest.mark.parametrize("name", ["uniform", "correlated lognormal, with zeros", "correlated normal, rounded"])
def test_a_population_without_groups_is_found_to_have_none(name):
    assert not is_structured(STRUCTURELESS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heavy tails", "two groups in one feature of three", "separate normal groups, 8 features"])
def test_separate_groups_are_found(name):
    assert is_structured(families.PLANTED[name])


@pytest.mark.parametrize("family", [*STRUCTURELESS.values(), *families.PLANTED.values(), *trust.detection().values()])
def test_a_family_is_that_of_its_seed_and_standardised(family):
    features = families.draw(family, 500, seed=3)
    np.testing.assert_array_equal(features, families.draw(family, 500, seed=3))
    assert not np.array_equal(features, families.draw(family, 500, seed=4))
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(features.std(axis=0), 1)


def test_planted_groups_have_the_given_distance():
    centres = families._centres(np.random.default_rng(0), 5, 3, apart=6)
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    assert distances[np.triu_indices(5, 1)].min() == pytest.approx(6)


def test_an_interrupted_run_is_resumed_and_the_page_has_a_row_for_each_population(tmp_path, monkeypatch):
    measured = []

    def measure(name, seed):
        measured.append((name, seed))
        return {
            "k": 3,
            "separation": 2.0,
            "null_mean": 0.5,
            "null_sd": 0.1,
            "effect": 4.0,
            "feature_dip": 0.1,
            "is_structured": True,
        }

    names = [f"population {number}" for number in range(6)]
    monkeypatch.setattr(trust, "_list_tasks", lambda *_: [(name, 0, partial(measure, name, 0)) for name in names])
    monkeypatch.setattr(trust, "ProcessPoolExecutor", lambda jobs, **_: ThreadPoolExecutor(jobs))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which main sets, for its processes
    arguments = ["--sections=planted", "--jobs=1", f"--docs={tmp_path}"]
    trust.main(arguments)
    kept = json.loads((tmp_path / "trust.json").read_text())
    kept["planted"]["entries"] = kept["planted"]["entries"][:4]
    (tmp_path / "trust.json").write_text(json.dumps(kept))
    measured.clear()
    trust.main([*arguments, "--resume"])
    assert measured == [(name, 0) for name in names[4:]]
    rows = [line for line in (tmp_path / "trust.md").read_text().splitlines() if line.startswith("| population ")]
    assert rows[1:] == [f"| {name} | 0 | 3 | 1 of 1 | 4.0 | 15.0 | 0.100 |" for name in names]


def test_the_stability_of_each_segment_is_listed_beside_the_reference():
    entries = [
        {"name": "k = 3", "seed": seed, "sizes": [140, 1800, 7009], "jaccard": [0.7, 0.9, value], "ari": 0.9}
        for seed, value in enumerate([0.97, 0.99])
    ]
    page = trust.describe({"stability": {"entries": entries, "command": "make trust", "machine": "a machine"}})
    assert "| 3 | 7,009 | 7,023 | 0.983 | 0.989 | 0.980 | 0.014 | 0.016 |" in page
    assert "| 3 | 0-1 | 0.700 to 0.700 | 2 of 2 |" in page


def test_an_unknown_section_is_an_error_that_names_it(capsys):
    with pytest.raises(SystemExit):
        trust.main(["--sections=planted,nonsense"])
    assert "there is no section nonsense" in capsys.readouterr().err
