"""params.yaml: the one place that reads, checks and explains it."""

from d2it.params.load import ParamsError, check_params, load_params
from d2it.params.sections import (
    ContentTransformerParams,
    DataParams,
    DiffusionParams,
    DVAEParams,
    FIDParams,
    GrainParams,
    GrainTransformerParams,
    Params,
    RefineNetParams,
    SampleParams,
    TrainingParams,
    TransformerParams,
)

__all__ = [
    "ContentTransformerParams",
    "DVAEParams",
    "DataParams",
    "DiffusionParams",
    "FIDParams",
    "GrainParams",
    "GrainTransformerParams",
    "Params",
    "ParamsError",
    "RefineNetParams",
    "SampleParams",
    "TrainingParams",
    "TransformerParams",
    "check_params",
    "load_params",
]
