"""Measures uploads side by side: the seed's curl flow, plain httpx2, this library, its command line and its MCP tools.

    python benchmarks/run.py [--quick]

The contenders take turns, so that a machine that slows down slows all of them. Every figure is the median of its runs
after a warm-up; every ratio is against the curl flow of the same run. Writes benchmarks/results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from mcp import Client, StdioServerParameters

HERE = Path(__file__).parent
MIB = 1024 * 1024
Contender = Callable[[], Awaitable[float]]


def wav(path: Path, size: int) -> Path:
    """Write a WAV file of ``size`` bytes whose content differs from part to part."""
    header = (
        b"RIFF"
        + (size - 8).to_bytes(4, "little")
        + b"WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0\x10\xb1\x02\0\x04\0\x10\0"
    )
    header += b"data" + (size - 44).to_bytes(4, "little")
    with path.open("wb") as file:
        file.write(header)
        block = os.urandom(MIB)
        left = size - len(header)
        while left:
            left -= file.write(block[: min(left, MIB)])
    return path


def peak_mib(pid: int) -> float | None:
    """Give the most memory that a process had, in MiB, where the system tells."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def processor_ticks() -> list[int]:
    """Give the system's processor time by kind, user first and stolen eighth, where the system tells."""
    try:
        return [int(ticks) for ticks in Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    except OSError:
        return []


def stolen_percent(before: list[int]) -> int | None:
    """Give how much of the processors' time the host gave to others since ``before``: what makes figures worse."""
    spent = [now - then for then, now in zip(before, processor_ticks(), strict=True)]
    busy = sum(spent) - spent[3] if spent else 0
    return round(100 * spent[7] / busy) if busy else None


class Process:
    """A child with pipes, whose line is awaited."""

    def __init__(self, *command: str, environ: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environ or {})},
        )

    async def line(self) -> str:
        """Give its next line."""
        assert self.process.stdout is not None
        return await anyio.to_thread.run_sync(self.process.stdout.readline)

    async def ask(self, question: str) -> str:
        """Write it a line, and give the line that it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return await self.line()

    async def go(self) -> float:
        """Tell a worker to upload, and give its seconds."""
        return float(await self.ask("go"))

    def stop(self) -> None:
        """Close its input, which ends it."""
        self.process.communicate()


@asynccontextmanager
async def drain_server(*arguments: str) -> AsyncIterator[str]:
    """Run the server that keeps nothing; gives the API's URL."""
    server = Process(sys.executable, str(HERE / "drain_server.py"), *arguments)
    try:
        yield f"http://127.0.0.1:{(await server.line()).strip()}/api/videos"
    finally:
        server.stop()


def environ(url: str, state: Path) -> dict[str, str]:
    """Give the settings of a command or server under test."""
    return {
        "STREAM_PUBLIC_KEY": "key",
        "STREAM_SECRET_KEY": "key",
        "AIOZ_STREAM_API_URL": url,
        "AIOZ_STREAM_STATE_DIR": str(state),
    }


class Spawned:
    """A contender that is a process of its own each time, run by `spawner.py`; its state is forgotten before each."""

    def __init__(self, spawner: Process, state: Path, *command: str) -> None:
        self._spawner = spawner
        self._state = state
        self._command = json.dumps(command)
        self.peak_mib = 0.0

    async def __call__(self) -> float:
        await anyio.to_thread.run_sync(partial(shutil.rmtree, self._state, ignore_errors=True))
        status, seconds, peak = json.loads(await self._spawner.ask(self._command))
        if status:
            raise RuntimeError(f"{self._command} failed with {status}")
        self.peak_mib = max(self.peak_mib, peak)
        return float(seconds)


async def by_tools(client: Client, path: Path) -> float:
    """Chain the four tools."""
    began = time.perf_counter()
    created: Any = (await client.call_tool("create_audio", {"title": "t"})).structured_content
    arguments = {"audio_id": created["audio_id"], "path": str(path)}
    result: Any = (await client.call_tool("upload_audio_file", arguments)).structured_content
    while result["state"] != "uploaded":
        result = (await client.call_tool("upload_audio_file", arguments)).structured_content
    for tool in ("complete_upload", "get_audio_link"):
        await client.call_tool(tool, {"audio_id": created["audio_id"]})
    return time.perf_counter() - began


@asynccontextmanager
async def contenders(path: Path, url: str, state: Path) -> AsyncIterator[tuple[dict[str, Contender], dict[str, Any]]]:
    """Give the contenders by name, and by name what their memory is read from: a process's id, or a `Spawned`."""
    cli_environ = environ(url, state / "cli")
    command = (sys.executable, "-m", "aioz_stream_audio", "upload", str(path), "--no-wait", "--json")
    async with AsyncExitStack() as stack:
        spawner = Process(sys.executable, "-I", "-S", str(HERE / "spawner.py"), environ=cli_environ)
        stack.callback(spawner.stop)
        curl = Spawned(spawner, state / "curl", "bash", str(HERE / "seed_flow.sh"), str(path), url)
        cli = Spawned(spawner, state / "cli", *command)
        workers = {}
        for kind in ("httpx2", "library"):
            workers[kind] = Process(sys.executable, str(HERE / "worker.py"), kind, str(path), url)
            stack.callback(workers[kind].stop)
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "aioz_stream_audio", "serve"], env=environ(url, state / "mcp")
        )
        client = await stack.enter_async_context(Client(server))
        yield (
            {
                "curl flow": curl,
                "httpx2": workers["httpx2"].go,
                "library": workers["library"].go,
                "command line": cli,
                "MCP tools": lambda: by_tools(client, path),
            },
            {
                "curl flow": curl,
                "httpx2": workers["httpx2"].process.pid,
                "library": workers["library"].process.pid,
                "command line": cli,
                "MCP tools": newest_child(),
            },
        )


def newest_child() -> int:
    """Give the id of the process that was started last: the SDK does not tell its server's."""
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(encoding="ascii").split()
    return max(map(int, children))


async def compare(title: str, size: int, runs: int, *arguments: str) -> dict[str, Any]:
    """Let the contenders upload a file of ``size`` bytes in turn."""
    print(f"\n{title}", flush=True)
    seconds: dict[str, list[float]] = {}
    before = processor_ticks()
    with tempfile.TemporaryDirectory() as directory:
        path = await anyio.to_thread.run_sync(wav, Path(directory) / "audio.wav", size)
        async with drain_server(*arguments) as url, contenders(path, url, Path(directory)) as (uploads, memory):
            for run in range(runs + 1):
                for name, upload in uploads.items():
                    taken = await upload()
                    if run:  # the first is the warm-up
                        seconds.setdefault(name, []).append(taken)
            peaks = {
                name: of.peak_mib if isinstance(of, Spawned) else await anyio.to_thread.run_sync(peak_mib, of)
                for name, of in memory.items()
            }
    base = statistics.median(seconds["curl flow"])
    rows = {
        name: {
            "median_seconds": round(statistics.median(taken), 3),
            "min_seconds": round(min(taken), 3),
            "max_seconds": round(max(taken), 3),
            "ratio": round(statistics.median(taken) / base, 2),
            "peak_mib": round(peaks[name] or 0),
        }
        for name, taken in seconds.items()
    }
    for name, row in rows.items():
        print(f"  {name:13}{row['median_seconds']:8.3f} s  x{row['ratio']:.2f}  peak {row['peak_mib']} MiB", flush=True)
    stolen = await anyio.to_thread.run_sync(stolen_percent, before)
    if stolen is not None:
        print(f"  {stolen} % of the processor time that was wanted went to the host's other guests", flush=True)
    return {"title": title, "bytes": size, "runs": runs, "stolen_percent": stolen, "contenders": rows}


async def memory(size: int) -> dict[str, Any]:
    """Send a sparse file of ``size`` bytes through the MCP tools, and see how much memory the server takes for it."""
    print(f"\nMemory of the server for {size // MIB // 1024} GiB", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        path = wav(Path(directory) / "audio.wav", MIB)
        await anyio.to_thread.run_sync(os.truncate, path, size)
        async with drain_server() as url:
            server = StdioServerParameters(
                command=sys.executable,
                args=["-m", "aioz_stream_audio", "serve"],
                env=environ(url, Path(directory) / "state"),
            )
            async with Client(server) as client:
                await client.list_tools()
                pid = newest_child()
                idle = peak_mib(pid) or 0.0
                seconds = await by_tools(client, path)
                peak = peak_mib(pid) or 0.0
    row = {
        "bytes": size,
        "idle_mib": round(idle, 1),
        "peak_mib": round(peak, 1),
        "above_idle_mib": round(peak - idle, 1),
    }
    print(f"  idle {idle:.1f} MiB, peak {peak:.1f} MiB, {peak - idle:.1f} MiB above; {seconds:.1f} s", flush=True)
    return row


async def start(runs: int) -> dict[str, Any]:
    """Time a server from its start to its list of tools, against a bare one with one tool."""
    print("\nStart to tools/list", flush=True)
    taken: dict[str, list[float]] = {"bare server": [], "this server": []}
    servers = {
        "bare server": StdioServerParameters(command=sys.executable, args=[str(HERE / "bare_server.py")]),
        "this server": StdioServerParameters(command=sys.executable, args=["-m", "aioz_stream_audio", "serve"]),
    }
    for run in range(runs + 1):
        for name, server in servers.items():
            began = time.perf_counter()
            async with Client(server) as client:
                await client.list_tools()
                if run:
                    taken[name].append(time.perf_counter() - began)
    medians = {name: round(statistics.median(seconds), 3) for name, seconds in taken.items()}
    ratio = round(medians["this server"] / medians["bare server"], 2)
    print(f"  {medians}, x{ratio:.2f}", flush=True)
    return {"median_seconds": medians, "ratio": ratio, "runs": runs}


async def main(*, quick: bool) -> None:
    """Run everything."""
    # What takes a second is repeated more often: one of its runs says less on a machine that others share.
    short, runs = (1, 1) if quick else (15, 5)
    long_line = ("--latency", "0.05", "--rate", "8000000")
    sizes = (8,) if quick else (8, 128, 512)
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    results = {
        "machine": f"{os.cpu_count()} cores, {system}",
        "loopback": [await compare(f"{size} MiB on loopback", size * MIB, short) for size in sizes],
        "long line": await compare(
            f"{sizes[min(1, len(sizes) - 1)]} MiB on a long line: 50 ms before each answer, 8 MB/s a connection",
            sizes[min(1, len(sizes) - 1)] * MIB,
            runs,
            *long_line,
        ),
        "memory": await memory((1 if quick else 10) * 1024 * MIB),
        "start": await start(runs),
    }
    if not quick:
        (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one run of each, small files, nothing written")
    anyio.run(lambda: main(quick=parser.parse_args().quick))
