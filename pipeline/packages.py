"""The project's packages, each of which may import those before it; the one list of them."""

PACKAGES = ("d2it", "pipeline", "tracking", "stages", "slurm", "ablations", "benchmarks")
IN_A_JOB = PACKAGES[: PACKAGES.index("ablations")]  # what a job runs, and so takes along


if __name__ == "__main__":
    print(*PACKAGES)
