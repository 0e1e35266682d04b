"""Runs kmock, which keeps objects as a Kubernetes API server does but has no controllers.

Never listens elsewhere than on loopback. Prints its URL on one line, and ends when its standard input does.
"""

import asyncio
import sys

import kmock


async def main() -> None:
    emulator = kmock.KubernetesEmulator()
    emulator.resources.load_bundled()
    async with emulator, kmock.Server(emulator, "127.0.0.1") as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
