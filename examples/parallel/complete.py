"""The complete example of the Go page. It begins with a block, and prints `A-7|B-7|C-7`.

Plain functions run in threads, so `time.sleep` in one of them delays nothing else.
"""

import time

from pydantic import BaseModel

from gorkflow import Workflow, run, step

SECOND = 0.05  # of the work that is simulated: 1 for the page's timing


class DataInput(BaseModel):
    id: int


class ProcessedA(BaseModel):
    result_a: str


class ProcessedB(BaseModel):
    result_b: str


class ProcessedC(BaseModel):
    result_c: str


class AggregatedOutput(BaseModel):
    combined: str


@step(id="process-a", name="Process A")
def process_a(data: DataInput) -> ProcessedA:
    time.sleep(SECOND)  # simulate work
    return ProcessedA(result_a=f"A-{data.id}")


@step(id="process-b", name="Process B")
def process_b(data: DataInput) -> ProcessedB:
    time.sleep(SECOND)
    return ProcessedB(result_b=f"B-{data.id}")


@step(id="process-c", name="Process C")
def process_c(data: DataInput) -> ProcessedC:
    time.sleep(SECOND)
    return ProcessedC(result_c=f"C-{data.id}")


@step(name="Aggregate Results")
def aggregate(a: ProcessedA, b: ProcessedB, c: ProcessedC) -> AggregatedOutput:
    return AggregatedOutput(combined=f"{a.result_a}|{b.result_b}|{c.result_c}")


complete = (
    Workflow("parallel-wf", input=DataInput, name="Parallel Workflow")
    .parallel(process_a, process_b, process_c)
    .then(aggregate)
)

if __name__ == "__main__":
    began = time.perf_counter()
    print(run(complete, DataInput(id=7), store="memory:").combined)
    took = time.perf_counter() - began
    print(f"three times {SECOND:g} s of work took {took:.2f} s")
