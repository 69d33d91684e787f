"""Time to attach a node's interfaces: one direction after the other, or many at once.

python -m tests.bench.bench_attach [PAIRS]      # 125 for a node of 250 interfaces
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from flowd_bpf.attach.attacher import AttachMode, choose_attacher
from flowd_bpf.attach.interfaces import LinkWatch
from flowd_bpf.libbpf import has_tcx
from flowd_bpf.load import loader
from tests.kernel.net import Cluster


def attach(mode: AttachMode, workers: int) -> tuple[int, float, float]:
    """Returns the number of interfaces, and seconds to attach and to detach all."""
    loaded, watch = loader.load(), LinkWatch(["veth*"])
    try:
        links, _ = watch.poll()
        way = choose_attacher(loaded.programs, mode)
        began = time.monotonic()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(way.attach, links))
        attached = time.monotonic()
        way.close()
        return len(links), attached - began, time.monotonic() - attached
    finally:
        watch.close()
        loaded.close()


def main() -> None:
    """Print the table."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    modes: tuple[AttachMode, ...] = ("tcx", "clsact") if has_tcx() else ("clsact",)
    print("| way | interfaces | attach | each | detach |\n| --- | --- | --- | --- | --- |")
    with Cluster() as cluster, cluster.inside():
        lines = [f"link add veth{n}a type veth peer name veth{n}b" for n in range(pairs)]
        subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        for mode in modes:
            for workers in (1, 16) if mode == "tcx" else (1,):
                count, took, left = attach(mode, workers)
                each = f"{took / count * 1e3:.1f} ms"
                print(
                    f"| {mode}, {workers} at once | {count} | {took:.2f} s | {each} | {left:.2f} s |"
                )


if __name__ == "__main__":
    main()
