import re

from stagekit.tables import duckdb_reader
from stagekit.tables.table_schema import TableFormat
from stagekit.workers import progress


def test_a_terminal_shows_how_much_of_a_file_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(progress, "_SHOW_AFTER_S", 0)
    monkeypatch.setattr(progress, "_POLL_S", 0.01)
    path = tmp_path / "file.csv"
    n_rows = 4_000_000  # more than one of the reader's buffers
    path.write_text("id,amount\n" + n_rows * "C1,1.5\n")
    schema = duckdb_reader.read_schema([path], ["amount"], TableFormat("id"))
    assert duckdb_reader.load_files([path], schema=schema, folder=tmp_path).n_rows == n_rows
    shown = capsys.readouterr().err
    assert re.search(r"load file\.csv: +[1-9]", shown)
    assert "load:" not in shown  # a count of files is meaningless for a single one
