"""How two processes share the tests (`make test`): files that bear company side by side, then one takes the others."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from tests.programs import ahead


class TwoTurns(LoadFileScheduling):
    """Files in the order of collection. The first process, which builds ahead, stays for those that want no company."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if len(self.nodes) == 1 or ahead.bears_company(next(iter(self.workqueue))):
            super()._assign_work_unit(node)
        elif node is not min(self.nodes, key=lambda one: int(one.gateway.id.removeprefix("gw"))):
            node.shutdown()  # it finishes what it has

    def remove_node(self, node: WorkerController) -> str | None:
        crashed = super().remove_node(node)
        for other in self.nodes:
            self._reschedule(other)
        return crashed
