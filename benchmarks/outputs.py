"""What further outputs cost: python benchmarks/outputs.py [--model FILE] [--runs N]

The model and the same file with its quality alone, in turn, on one picture of 577 x 433 pixels with one thread. CPU
time, so that other programs disturb little; the ratio at low percentiles is the steadiest.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.utils
import onnxruntime

from noref.scoring.graph_outputs import quality_nodes
from noref.scoring.network import DEFAULT, open_session


def without(model: Path) -> bytes:
    """The file with its quality alone."""
    found = onnx.load(model)
    nodes = quality_nodes(found.graph)
    del found.graph.output[1:]
    del found.graph.node[:]
    found.graph.node.extend(nodes)
    return bytes(found.SerializeToString())


def cpu_time(session: Any, image: np.ndarray) -> float:
    """Seconds of one run with all outputs."""
    start = time.process_time()
    session.run(None, {session.get_inputs()[0].name: image})
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEFAULT)
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    contents = (without(given.model), given.model.read_bytes())
    alone, full = (open_session(onnxruntime, given.model, content, 1) for content in contents)
    image = np.random.default_rng(0).integers(0, 256, (1, 433, 577, 3), dtype=np.uint8)
    times = np.array([[cpu_time(alone, image), cpu_time(full, image)] for _ in range(given.runs)])[5:]
    for share in (5, 25, 50):
        before, after = np.percentile(times, share, axis=0)
        print(f"{share} %: {1000 * before:.1f} ms alone, {1000 * after:.1f} ms with all outputs: {after / before:.3f}")


if __name__ == "__main__":
    main()
