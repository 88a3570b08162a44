"""Which runs go, decided from a table of runs."""

from stagekit.prune.folders import RunFolder, select_runs

RUNS = [RunFolder(name, changed, 1) for name, changed in (("c", 3.0), ("a", 1.0), ("d", 4.0), ("b", 2.0))]


def names(runs):
    return [run.folder for run in runs]


def test_the_last_runs_are_kept_and_the_oldest_goes_first():
    assert names(select_runs(RUNS, 2, ())) == ["a", "b"]


def test_protected_runs_are_kept_however_old_they_are():
    assert names(select_runs(RUNS, 1, {"a", "c"})) == ["b"]


def test_fewer_runs_than_are_to_be_kept_all_stay():
    assert select_runs(RUNS, 10, ()) == []
