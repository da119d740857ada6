"""A rule of your own in one file: `edgecloud evaluate --against examples/my_rule.py:QueueAware,dp`."""

from edgecloud.envs import Action, Measurements, Rule


class QueueAware(Rule):
    """On the device while it keeps up; else the last stages go to the edge, or to a function when the edge is busy."""

    name = "queue-aware"

    def __init__(self, patience: int = 2, busy_load: float = 0.5) -> None:
        self.patience, self.busy_load = patience, busy_load

    def decide(self, measured: Measurements) -> Action:
        """Choose for one environment: every measurement has a first axis of length one."""
        stages = self.problem.stages
        if measured.device_queue[0] <= self.patience:
            return Action(cut_device=stages, cut_edge=stages, threshold=0, route="faas", vm_target=0)
        edge_is_busy = measured.edge_load[0] > self.busy_load
        cut = stages - 2
        return Action(cut, cut if edge_is_busy else stages, threshold=0, route="faas", vm_target=0)
