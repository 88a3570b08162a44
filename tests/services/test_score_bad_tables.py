"""Scoring reads a file of customers as strictly as extract does: every table of bad_tables.py, without any segment."""

from contextlib import contextmanager
from types import SimpleNamespace

import duckdb
import pytest

from services.contract.settings import ScoreSettings
from services.pipeline import PIPELINE
from services.segment import score
from stagekit.errors import DataError
from stagekit.tables import duckdb_reader
from stagekit.volume.workspace import Workspace
from tests.services.bad_tables import FEATURES, TABLES

PREPARATION = SimpleNamespace(feature_columns=FEATURES, columns=FEATURES)


@pytest.fixture(scope="module")
def database():
    """A database for all tables: opening one takes longer than all else."""
    with duckdb.connect() as connection:
        yield connection


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_read_right_or_what_is_wrong_is_named(tmp_path, monkeypatch, database, table):
    @contextmanager
    def connect(*_):
        database.execute("DROP TABLE IF EXISTS rows")
        yield database

    monkeypatch.setattr(duckdb_reader, "connect", connect)
    (tmp_path / "new.csv").write_bytes(table.content)
    with Workspace(PIPELINE, "score", tmp_path, "new") as work:
        settings = ScoreSettings(volume=tmp_path, score="new.csv")
        if table.complaint:
            with pytest.raises(DataError, match=rf"new\.csv.*{table.complaint}"):
                score._load_file(settings, work, PREPARATION)
        else:
            _, schema = score._load_file(settings, work, PREPARATION)
            columns = (f"c{schema.header.index(name)}" for name in ("CUST_ID", *FEATURES))
            assert database.execute(f"SELECT {', '.join(columns)} FROM rows").fetchall() == list(table.rows)
