"""The `taskleak` profile: tasks that nothing can wake any more, proved twice.

It is Go's `goroutineleak` for asyncio. The proof is that of `backstay.leak`;
here it only gets the forms of a profile.
"""

from __future__ import annotations

from collections.abc import Sequence

from backstay import leak
from backstay.observe.profile._asked import Refused, Wait
from backstay.observe.profile._profile import Frame
from backstay.observe.profile._tasks import TaskLine
from backstay.tasks import installed_loops

__all__ = ["leak_lines"]

# Seconds between the two proofs: whoever was only in another thread's hands has moved on by then.
_CONFIRM_S = 1.0


def leak_lines(wait: Wait) -> tuple[Sequence[TaskLine], tuple[str, ...]]:
    """Prove twice on every loop, a second apart.

    Returns:
        The tasks proved both times, and what the reader should know.

    Raises:
        Refused: no loop is tracked, or no loop could be asked.

    Cost: that of `leak.prove`, in each loop's thread, two times.
    """
    provers = [
        leak.Prover(loop, confirm_after=_CONFIRM_S / 2, older_than=0.0)
        for loop in installed_loops()
        if loop.is_running()
    ]
    if not provers:
        raise Refused(503, "no running loop is tracked: call backstay.install() in it")
    for prover in provers:
        prover.look()
    if wait(_CONFIRM_S):
        return (), ()
    proofs = [prover.look() for prover in provers]
    refusals = tuple(dict.fromkeys(proof.refused for proof in proofs if proof.refused))
    if refusals and all(proof.refused for proof in proofs):
        raise Refused(503, refusals[0])
    asked = sum(proof.asked for proof in proofs)
    comments = (f"{asked} waiting tasks were asked", *refusals)
    return [_line(one) for proof in proofs for one in proof.proved], comments


def _line(one: leak.Proved) -> TaskLine:
    label, _, _ = one.blocked_on.partition(" at ")
    return TaskLine(
        name=one.task_name,
        state=one.verdict,
        stack=tuple(Frame.parse(step) for step in reversed(one.chain)),
        site=one.site,
        function=one.function,
        owner=one.owner,
        wait=label,
        wait_site=one.await_site,
        age_s=one.age,
        trace_id=one.trace_ids[0] if one.trace_ids else None,
        notes=(f"held by {one.held_by}",) if one.held_by else (),
    )
