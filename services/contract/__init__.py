"""What the stages agree on: settings, artifacts, errors, and the one way in which a stage starts.

Standard library and pydantic only, so that the Airflow image can import it too; `cluster.py` is for those who have Dask.
"""
