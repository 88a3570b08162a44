import pandas as pd

from bench.cluster import FILES, DagRun, StageRun, describe, write_customers


def test_the_files_are_one_table_in_which_one_customer_in_fifty_is_a_duplicate(tmp_path):
    write_customers(tmp_path / "volume", 20_000)
    files = sorted((tmp_path / "volume/data/customers").glob("*.csv"))
    ids = pd.concat([pd.read_csv(file, usecols=["CUST_ID"]) for file in files])["CUST_ID"]
    assert (len(files), len(ids)) == (FILES, 20_000)
    assert 0.97 < ids.nunique() / len(ids) < 0.99


def test_two_runs_are_compared():
    segments = pd.DataFrame({"CUST_ID": ["a", "b"], "segment_id": [1, 0]})
    others = pd.DataFrame({"CUST_ID": ["b", "a"], "segment_id": [2, 1]})
    cluster = DagRun(3.0, {"train": StageRun(2.0, 100)}, [10.0, 5.0], segments)
    alone = DagRun(4.0, {"train": StageRun(3.0, 200)}, [10.0, 5.5], others)
    lines = list(describe(cluster, [300, 301], alone))
    assert "| train | 2.0 | 100 | 3.0 | 200 |" in lines
    assert lines[-1] == "2 customers: 50.0000% in the same segment; maximum relative difference of the SSE 9.1e-02."
