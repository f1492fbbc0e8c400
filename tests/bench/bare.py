"""A process that does nothing but call `assume_role` of a boto3 client in a loop: the floor of an uncached vend.

The job comes as JSON on standard input, the result goes as JSON to standard output.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass

import boto3


@dataclass
class Job:
    endpoint_url: str
    seconds: float
    parameters: dict[str, str | int]
    """Of each `assume_role`."""


@dataclass
class Result:
    rate: float
    cpu: float
    """Seconds of processor time that a call takes."""


def run(job: Job) -> Result:
    sts = boto3.client("sts", region_name="us-east-1", endpoint_url=job.endpoint_url)
    for _ in range(10):
        sts.assume_role(**job.parameters)
    calls, cpu, started_at = 0, time.process_time(), time.perf_counter()
    while (seconds := time.perf_counter() - started_at) < job.seconds:
        sts.assume_role(**job.parameters)
        calls += 1
    return Result(rate=calls / seconds, cpu=(time.process_time() - cpu) / calls)


if __name__ == "__main__":
    print(json.dumps(asdict(run(Job(**json.load(sys.stdin))))))
