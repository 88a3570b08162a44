"""Everything that runs inside Airflow."""
