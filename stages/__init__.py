"""The stages of dvc.yaml, one module each, which slurm/ runs as jobs."""

import sys

if sys.argv[:1] == ["-m"]:  # Python looks for the module of `python -m stages.<name>`, which would do nothing
    print("stages are not run by hand; type: dvc repro <stage>, or python -m slurm <stage>", file=sys.stderr)
    sys.exit(2)
