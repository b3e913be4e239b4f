"""Room locks kept in Redis or Valkey: for a kit that runs in several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from roomkit._redis import RedisLink
from roomkit.core._leases import LeaseLockManager

if TYPE_CHECKING:
    from roomkit._clock import Clock
    from roomkit.core._leases import Lease, OnDown

# Repeating it with the same token is harmless, which SET NX alone is not: when the answer is
# lost with its connection, the second try finds its own lock.
_TAKE = """\
if redis.call('set', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('get', KEYS[1]) == ARGV[1] then
  redis.call('pexpire', KEYS[1], ARGV[2])
  return 1
end
return 0"""
_RENEW = """\
if redis.call('get', KEYS[1]) == ARGV[1] then
  return redis.call('pexpire', KEYS[1], ARGV[2])
end
return 0"""
_FREE = """\
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0"""


class RedisLockManager(LeaseLockManager):
    """Locks rooms for all processes that use the same server and prefix.

    A lock is a key with a token and a time to live, renewed while it is held. Inside one
    process rooms are handed over first come, first served; between processes nothing is
    promised about the order.

    The lock keeps gates serial; it is not what protects the timeline. A holder whose process
    was stopped for longer than ``ttl``, or whose key was deleted (then it learns so within
    ``renew_every``), may run beside the next one: ``lost`` tells it, and the store's
    transaction refuses what would collide.

    Args:
        server: A URL such as ``redis://host:port/0``, or a ``redis.asyncio`` client, which
            stays yours to close. Not for Redis Cluster clients.
        ttl: Seconds a lock outlives a process that died with it.
        renew_every: Seconds between renewals. Default: a third of ``ttl``.
        prefix: What the keys begin with.
        wait_timeout: Seconds to wait for a room another process holds.
        command_timeout: Seconds one command may take, connecting included; also how long a
            caller waits for the decision below when the server has just gone down.
        on_down: What acquiring does while the server is down. ``"local"`` (default): go on
            with the lock inside the process alone. Gates of one room may then run in two
            processes at once; a store with transactions keeps the timeline sound. Choose
            ``"refuse"`` when your gates must never overlap or your store only has the 36
            plain methods: entering then raises StoreUnavailableError.
        clock: Where time comes from.

    One event loop at a time. Close it when its kit is closed, or use ``async with``.

    Raises:
        MissingDependencyError: The ``redis`` extra is not installed.
        ConfigurationError: The URL cannot be read.
        InvalidInputError: A number makes no sense.
    """

    def __init__(
        self,
        server: Any,
        *,
        ttl: float = 10.0,
        renew_every: float | None = None,
        prefix: str = "roomkit:lock:",
        wait_timeout: float = 30.0,
        command_timeout: float = 0.8,
        on_down: OnDown = "local",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            lease=ttl,
            check_every=ttl / 3 if renew_every is None else renew_every,
            command_timeout=command_timeout,
            wait_timeout=wait_timeout,
            on_down=on_down,
            clock=clock,
        )
        self._ttl_ms = max(1, round(ttl * 1000))
        self._prefix = prefix
        self._link = RedisLink(
            server,
            user="RedisLockManager",
            timeout=command_timeout,
            repeat=True,
            tasks=self._tasks,
        )

    def _key(self, room_id: str) -> bytes:
        # Encoded here: a lone surrogate must not spoil the batch it would travel in.
        return f"{self._prefix}{room_id}".encode("utf-8", "surrogatepass")

    async def _take(self, lease: Lease) -> bool:
        key = self._key(lease.room_id)
        return bool(await self._link.call("EVAL", _TAKE, 1, key, lease.token, self._ttl_ms))

    async def _free(self, lease: Lease) -> None:
        # Waited for without a bound of our own: the task that does so is, and taking the
        # command back must not be possible.
        await self._link.submit("EVAL", _FREE, 1, self._key(lease.room_id), lease.token)

    async def _check(self, leases: list[Lease]) -> None:
        sent = self._clock.monotonic()
        answers = await self._link.call_all(
            ("EVAL", _RENEW, 1, self._key(lease.room_id), lease.token, self._ttl_ms)
            for lease in leases
        )
        failure: Exception | None = None
        for lease, answer in zip(leases, answers, strict=True):
            if isinstance(answer, Exception):
                failure = answer
            elif answer:
                self._confirmed(lease, sent)
            else:
                self._ended(lease)
        if failure is not None:
            raise failure

    async def _disconnect(self) -> None:
        await self._link.close()
