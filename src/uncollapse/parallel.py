"""One training in several processes: each has its share of every batch, and all have the loss of the whole batch.

What an objective needs of a batch, the rows of all processes together, `Shard.join` gives it: a batch mean, a floor of it, a
distance of it from a target, a discrepancy. So every process has the loss L of the joined batch, and not of its own rows.

The gradients follow from one convention. A collective passes backwards the sum of the gradients that all processes have, which is
the gradient of the sum of their losses, W L for W processes; `DistributedDataParallel` averages gradients over processes, and the
mean of W dL is dL.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

if dist.is_available():
    # DistributedDataParallel imports it, and default arguments of its functions are the process group of that moment for ever:
    # imported before there is one, they hold none, and the group can end
    import torch.distributed.nn

T = TypeVar("T")


class _Join(torch.autograd.Function):
    """The rows of all processes, in the order of their ranks: `[B_r, ...]` -> `[sum_r B_r, ...]`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Sequence[int], rank: int) -> Tensor:
        # collectives want equal shapes
        ctx.rows, most = rows_of(counts, rank), max(counts)
        mine = nn.functional.pad(x, (0, 0) * (x.ndim - 1) + (0, most - len(x))).contiguous()
        parts = [torch.empty_like(mine) for _ in counts]
        dist.all_gather(parts, mine)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.rows], None, None


class _Sum(torch.autograd.Function):
    """The sum over processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def sum_over_processes(x: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, of the same shape; gradients flow to all of them."""
    total: Tensor = _Sum.apply(x)
    return total


def rows_of(counts: Sequence[int], rank: int) -> slice:
    """Return which rows of the joined batch a process has."""
    first = sum(counts[:rank])
    return slice(first, first + counts[rank])


@dataclass
class World:
    """The processes that train together, as torch's process group knows them.

    Attributes:
        rank: of this process, from 0; the first one writes.
        size: how many there are.
        state: of the random numbers that belong to the joined batch, the same in all processes; by device.
    """

    rank: int = 0
    size: int = 1
    state: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def current() -> "World":
        """Return the processes of the default process group; this one alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return World(dist.get_rank(), dist.get_world_size())
        return World()

    # -- agreement -------------------------------------------------------------------------------------------------

    def agree(self, value: T) -> T:
        """Return the value that the first process has."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Return for every flag whether it is set in some process."""
        if self.size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised.tolist())

    def collect(self, value: T) -> list[T]:
        """Return the values of all processes, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def mine(self, items: Sequence[T]) -> Sequence[T]:
        """Return the share of a list that is this process's work."""
        return items[self.rank :: self.size]

    def joined(self, results: Sequence[T]) -> list[T]:
        """Return what all processes made of their shares (`mine`) of a list, in the order of that list."""
        shares = self.collect(results)
        return [shares[i % self.size][i // self.size] for i in range(sum(map(len, shares)))]

    # -- the joined batch ------------------------------------------------------------------------------------------

    def shard(self, rows: int) -> "Shard":
        """Return this process's share of a batch of so many sentences; with fewer sentences than processes, all of them.

        Shares do not overlap, leave nothing out and differ by one sentence at most.
        """
        if self.size == 1 or rows < self.size:
            return Shard(self)
        counts = tuple(rows // self.size + (rank < rows % self.size) for rank in range(self.size))
        return Shard(self, counts)

    def parallel(self, module: nn.Module, *, unused: bool = False) -> Callable[..., Any]:
        """Return a module whose gradients are averaged over processes; alone, the module.

        Args:
            module: from its arguments to a loss.
            unused: whether some of its weights may have no part in the loss now and then.
        """
        return module if self.size == 1 else DistributedDataParallel(module, find_unused_parameters=unused)

    def begin_random(self, device: torch.device) -> None:
        """Take torch's random state, which all processes have, as that of the joined batch."""
        if self.size > 1:
            self.state = random_state(device)

    def seed_step(self, step: int) -> None:
        """Seed the numbers that belong to this process's own rows, such as dropout's, by the training's seed, step and rank.

        A resumed training draws the same.
        """
        if self.size > 1:
            base = torch.Generator()
            base.set_state(self.state["cpu"])
            torch.manual_seed((base.initial_seed() * 1_000_003 + step * self.size + self.rank) % 2**63)

    @contextmanager
    def shared_random(self) -> Iterator[None]:
        """Draw what belongs to the joined batch: the same numbers in every process, and those of a single process."""
        if self.size == 1:
            yield
            return
        device = torch.device(next((name for name in self.state if name != "cpu"), "cpu"))
        own = random_state(device)
        set_random_state(self.state)
        try:
            yield
        finally:
            self.state = random_state(device)
            set_random_state(own)


@dataclass(frozen=True)
class Shard:
    """A process's share of a batch; by default the whole batch.

    Attributes:
        world: the processes.
        counts: the rows that each of them has; empty where every process has the whole batch.
    """

    world: World = field(default_factory=World)
    counts: tuple[int, ...] = ()

    @property
    def rows(self) -> slice:
        """Return which rows of the joined batch are here."""
        return rows_of(self.counts, self.world.rank) if self.counts else slice(None)

    def total(self, here: int) -> int:
        """Return the rows of the joined batch, given those here."""
        return sum(self.counts) if self.counts else here

    def join(self, x: Tensor) -> Tensor:
        """Return the rows of all processes, `[B_r, ...]` -> `[B, ...]`; gradients flow to all of them."""
        if not self.counts:
            return x
        joined: Tensor = _Join.apply(x, self.counts, self.world.rank)
        return joined


ALONE = World()
WHOLE = Shard(ALONE)
_SHARING = ContextVar("sharing", default=ALONE)


@contextmanager
def sharing(world: World) -> Iterator[None]:
    """Share the evaluation within: each process encodes, scores and decodes a part of the sentences, and has all results.

    All processes must do the same within, in the same order.

    Args:
        world: the processes (`World.current()`).
    """
    before = _SHARING.set(world)
    try:
        yield
    finally:
        _SHARING.reset(before)


def sharers() -> World:
    """Return the processes that share the evaluation; by default this one alone."""
    return _SHARING.get()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state, on the CPU and on a device."""
    state = {"cpu": torch.get_rng_state()}
    return state | {str(device): torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Set torch's random state."""
    for name, value in state.items():
        if name == "cpu":
            torch.set_rng_state(value)
        else:
            torch.cuda.set_rng_state(value, name)


@contextmanager
def process_group() -> Iterator[World]:
    """Join the process group of the launcher, where there is one and nobody has joined it yet; leave it at the end.

    At the end no thread of the group is left: one that let go of a tensor while Python ends would abort the process.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1" or dist.is_initialized():
        yield World.current()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World.current()
    finally:
        gc.collect()  # trainers that are no longer in use, whose DistributedDataParallel keeps the group
        dist.destroy_process_group()
