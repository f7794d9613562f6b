"""Our own executor: asyncio, threads and a store around the machine. Read ``engine`` first."""
