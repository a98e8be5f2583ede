"""What a params file costs before anything is trained: models, stages, hours; `python -m d2it.cost`."""
