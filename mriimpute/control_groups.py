"""The control groups of Linux, version 1 and 2: the limits of a container, or of a job."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["control_groups"]


def control_groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Yields the folders of this process's groups and of all above them, the innermost first.

    A container may see none but the topmost: a folder need not be there.

    Args:
        root: Where `proc` and `sys` are.
        controller: Such as "memory" or "cpu".

    Yields:
        A folder, and whether it is of version 2.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("ascii", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        is_v2 = not controllers
        if not is_v2 and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / ("" if is_v2 else controller)
        group = top / name.strip("/")
        for folder in (group, *group.parents):
            yield folder, is_v2
            if folder == top:
                break
