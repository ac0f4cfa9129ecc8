"""The engine that scores parts on a Ray cluster: Ray Data gives them to a pool of actors.

A part that two actors score, because a node was lost after the file was written, is one file.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from serving.cluster.connection import joined
from serving.scoring.job import Part, ScoringJob


def on_cluster(job: ScoringJob, parts: Sequence[Part]) -> Iterator[tuple[int, int]]:
    """Yield the counts of each part as it is scored, in any order. Raises ClusterError."""
    if not parts:
        return
    with joined() as ray:
        from ray import data as ray_data

        context = ray_data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        context.execution_options.preserve_order = False
        numbered = ray_data.from_items(
            [{"part": list(part)} for part in parts], override_num_blocks=len(parts)
        )
        most = max(1, int(ray.cluster_resources().get("CPU", 1)))
        scored = numbered.map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=ray_data.ActorPoolStrategy(min_size=1, max_size=min(most, len(parts))),
            num_cpus=1.0,
        )
        for row in scored.iter_rows():
            yield int(row["images"]), int(row["refused"])


class Actor:
    """Scores one part after another in a process that Ray starts."""

    def __init__(self, job: ScoringJob) -> None:
        self._scorer = job.scorer()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        """The counts of the parts in `batch`, which Ray gives as columns."""
        counts = [self._scorer.score(tuple(map(str, part))) for part in batch["part"]]
        return {"images": [images for images, _ in counts], "refused": [each for _, each in counts]}
