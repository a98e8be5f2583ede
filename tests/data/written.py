"""All shards of a source, by one process."""

from pathlib import Path

from d2it.data.imageset import Source
from d2it.data.write import Allowed, Measure, Written, check_space, gather, record_path, shards_of, write_shards

NONE = Allowed()


def write_source(
    source: Source, folder: Path, region_size: int, measure: Measure, *, allowed: Allowed = NONE,
    threads: int | None = None,
) -> Written:  # fmt: skip
    """As the stage prepare writes and delivers them: without what says that a shard is whole."""
    check_space(source, folder)
    shards = shards_of(source)
    write_shards(source, shards, folder, region_size=region_size, measure=measure, threads=threads)
    written = gather(source, folder, allowed)
    for shard in shards:
        record_path(folder, shard).unlink()
    return written
