"""The ranks of a trial as Ray actors, each in a bundle of the trial's placement group, on whatever nodes those are.

The first rank is the process that Tune has started, in the first bundle. The actors are its own, so they end with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from kdstudy.study import ResourcesConfig, TrialConfig

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

    from kdstudy.storage import Folder
    from kdstudy.trial import RankJob


def resources_of(resources: ResourcesConfig) -> Any:
    """Return what Tune reserves for a trial: one bundle for each rank, on as few nodes as they fit on."""
    from ray import tune

    if resources.ranks == 1:
        return {"cpu": resources.cpus, "gpu": resources.gpus}
    bundle = {"CPU": float(resources.cpus), "GPU": float(resources.gpus)}
    return tune.PlacementGroupFactory([bundle] * resources.ranks, strategy="PACK")


@final
class RankActors:
    """Starts the other ranks on a cluster: a `kdstudy.trial.RankHost`.

    Args:
        teacher: The teacher's folder, which each rank opens for itself.
        data: Fingerprint of the data that the study began with.
    """

    def __init__(self, teacher: Folder, data: str) -> None:
        import ray

        self._teacher, self._data = teacher, data
        self._address = ray.util.get_node_ip_address()
        self.interface = interface_of(self._address)
        self._actors: list[Any] = []
        self._work: list[Any] = []

    def start(self, job: RankJob) -> Store:
        """Start them in their bundles, each ready to meet the others."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
        from torch._C._distributed_c10d import TCPStore

        resources, group = job.config.resources, ray.util.get_current_placement_group()
        assert group is not None  # Tune runs every trial in one
        for rank in range(1, resources.ranks):
            place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
            actor = ray.remote(RankActor).options(
                num_cpus=resources.cpus, num_gpus=resources.gpus, scheduling_strategy=place
            )
            self._actors.append(actor.remote())
        config = job.config.to_json()
        self._work = [
            actor.prepare.remote(config, self._teacher, self._data, job.cache, job.with_test) for actor in self._actors
        ]
        ray.wait(self._work, num_returns=len(self._work))
        if (gone := self.lost()) is not None:
            raise gone
        store = TCPStore(self._address, 0, resources.ranks, True, wait_for_workers=False)
        self._work = [
            actor.serve.remote(rank, self._address, store.port) for rank, actor in enumerate(self._actors, start=1)
        ]
        return store

    def lost(self) -> Exception | None:
        """Return why a rank has ended: what it raised, else what Ray knows."""
        import ray

        from kdstudy.training import RankLostError
        from kdstudy.trial import raised_elsewhere

        for rank, work in enumerate(self._work, start=1):
            ended, _ = ray.wait([work], timeout=0)
            if not ended:
                continue
            try:
                said = ray.get(work)
            except ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[0]
                return RankLostError(f"rank {rank} of the trial was lost ({reason})")
            if said is not None:
                kind, message = said
                return raised_elsewhere(kind, message, rank)
        return None

    def stop(self) -> None:
        """End them all."""
        import ray

        for actor in self._actors:
            ray.kill(actor)


@final
class RankActor:
    """A rank other than the first, in a process of its own. What it raises it returns, as text."""

    def prepare(
        self, config: dict[str, Any], teacher: Folder, data: str, cache: Path | None, with_test: bool
    ) -> tuple[str, str] | None:
        """Open what the trial needs, and see that this node has the study's data."""
        from kdstudy.cluster.worker import opened_teacher, require_data
        from kdstudy.trial import RankJob, said_elsewhere

        try:
            trial = TrialConfig.from_json(config)
            require_data(trial, data)
            self._job = RankJob(trial, opened_teacher(teacher), cache, with_test=with_test, head_only=False)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the first rank raises it
            return said_elsewhere(error)
        return None

    def serve(self, rank: int, address: str, port: int) -> tuple[str, str] | None:
        """Do this rank's work until the trial is over."""
        import ray
        from torch._C._distributed_c10d import TCPStore

        from kdstudy.training import RankLostError
        from kdstudy.trial import said_elsewhere, serve_rank

        store = TCPStore(address, port, self._job.config.resources.ranks, False)
        try:
            serve_rank(self._job, rank, store, interface_of(ray.util.get_node_ip_address()))
        except RankLostError:
            return None  # the first rank has gone, or knows of another
        except Exception as error:  # noqa: BLE001 -- whatever it is, the first rank raises it
            return said_elsewhere(error)
        return None


def interface_of(address: str) -> str | None:
    """Return the network interface that has an address on this machine; None where none has."""
    import psutil

    return next(
        (name for name, held in psutil.net_if_addrs().items() if any(each.address == address for each in held)), None
    )
