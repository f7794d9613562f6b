"""Our own executor: asyncio, threads and a store around the machine. Start reading at ``engine``."""
