"""Which partitions of which assets are made from others, as the asset graph says (SA-68)."""

from collections.abc import Collection, Iterator
from datetime import date

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.partitions.context import partition_loading_context


def downstream(
    graph: AssetGraph, asset: dg.AssetKey, partitions: Collection[str], *, last: date
) -> dict[dg.AssetKey, set[str]]:
    """Return the partitions of every asset that are made from some of one, however far away.

    The start is the asset's own partitions, or, of one without (bronze), those of what is made
    from it. An asset without partitions is affected with none. Partitions after `last` are left
    out: of a month that links from the one before all later ones are affected.
    """
    affected: dict[dg.AssetKey, set[str]] = {asset: set(partitions)}
    with partition_loading_context():
        for level in graph.toposorted_asset_keys_by_level:
            for child in level:
                _spread(graph, child, affected, last)
    own = affected.pop(asset) - set(partitions)
    return {**affected, **({asset: own} if own else {})}


def _spread(
    graph: AssetGraph, child: dg.AssetKey, affected: dict[dg.AssetKey, set[str]], last: date
) -> None:
    for parent in sorted(graph.get(child).parent_keys, key=lambda one: one == child):
        new = affected.get(parent, set())
        if parent not in affected:
            continue
        affected.setdefault(child, set())
        while new:
            found = {
                key for key in _made_from(graph, child, parent, new) if key <= last.isoformat()
            }
            new = found - affected[child] if parent == child else set()
            affected[child] |= found


def _made_from(
    graph: AssetGraph, child: dg.AssetKey, parent: dg.AssetKey, keys: Collection[str]
) -> Iterator[str]:
    above, below = graph.get(parent).partitions_def, graph.get(child).partitions_def
    if below is None:
        return
    if above is None:
        yield from keys
        return
    mapping = graph.get_partition_mapping(child, parent)
    known = [key for key in keys if above.has_partition_key(key)]
    found = mapping.get_downstream_partitions_for_partitions(
        above.subset_with_partition_keys(known), above, below
    )
    yield from found.get_partition_keys()
