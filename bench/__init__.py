"""Benchmark: speed and quality of the pipeline, next to the literal lab and an expert's script (`make bench`)."""
