"""Regions of a label map on the grid of a feature map: nodes of a graph, boundary bands, mean features."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def region_nodes(labels: Tensor, classes: int, parts: int = 2) -> Tensor:
    """Return per voxel the node it belongs to, for integer labels (B, *spatial).

    Node 0 is the background; class k > 0 has the nodes 1 + (k - 1) * parts ... for its ``parts`` largest connected
    components (voxels that share a corner are connected). Smaller components get the value ``node_count``.
    """
    from scipy.ndimage import label

    array = labels.cpu().numpy()
    nodes = np.full(array.shape, node_count(classes, parts), np.int64)
    nodes[array == 0] = 0
    touching = np.ones((3,) * (array.ndim - 1))
    for index, image in enumerate(array):
        for value in np.unique(image):
            if value > 0:
                components, _ = label(image == value, touching)
                sizes = np.bincount(components.ravel())[1:]
                for rank, component in enumerate(np.argsort(-sizes, kind="stable")[:parts]):
                    nodes[index][components == component + 1] = 1 + (value - 1) * parts + rank
    return torch.from_numpy(nodes).to(labels.device)


def node_count(classes: int, parts: int) -> int:
    """Return the number of nodes that ``region_nodes`` can name."""
    return 1 + (classes - 1) * parts


def node_means(x: Tensor, nodes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return mean features (B, count, C) of the nodes of (B, C, *spatial), and which nodes are there (B, count).

    ``nodes`` has the spatial size of ``x``; values from ``count`` on belong to no node.
    """
    masks = F.one_hot(nodes.flatten(1).clamp(max=count), count + 1)[..., :count].to(torch.float32)
    sizes = masks.sum(1)
    sums = torch.einsum("bnk,bcn->bkc", masks, x.float().flatten(2))
    return sums / sizes.clamp(min=1)[:, :, None], (sizes > 0).to(torch.float32)


def class_masks(labels: Tensor, classes: int) -> Tensor:
    """Return masks (B, 2 * classes, *spatial): the classes, then one voxel to both sides of the border of each."""
    masks = F.one_hot(labels, classes).movedim(-1, 1).to(torch.float32)
    widest = F.max_pool3d if labels.ndim == 4 else F.max_pool2d
    grown = widest(masks, 3, stride=1, padding=1)
    shrunk = 1.0 - widest(1.0 - masks, 3, stride=1, padding=1)
    return torch.cat([masks, grown - shrunk], dim=1)
