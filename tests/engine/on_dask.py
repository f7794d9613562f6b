"""Run by a test, as a program of its own: branches on a local Dask cluster of two processes."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])


async def main() -> None:
    import pytest
    from distributed import Client, LocalCluster

    from gorkflow import Engine, RunFailedError, Workflow
    from tests.engine import placed

    doubled = [(n, placed.far.options(id=f"n{n}")) for n in range(4)]
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster) as client:
        pool = client.get_executor(pure=False)
        async with Engine("memory:", executors={"elsewhere": pool}) as engine:
            runs = (engine.run(Workflow(s.id, input=int).then(s), n) for n, s in doubled)
            print(await asyncio.gather(*runs))
            pids = [placed.far_pid.options(id=f"p{n}") for n in range(8)]
            seen = set(await engine.run(Workflow("pids", input=int).parallel(*pids), 1))
            assert os.getpid() not in seen
            print(len(seen))
            slow = Workflow("slow", input=str).then(placed.far_waits)
            with tempfile.TemporaryDirectory() as folder, pytest.raises(RunFailedError) as caught:
                await engine.run(slow, folder)
            print(len(caught.value.failures))


if __name__ == "__main__":
    asyncio.run(main())
