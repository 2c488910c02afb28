"""MSKD as we read it: features filtered by region, and graphs of regions.

The paper ("Structured knowledge distillation for efficient medical image segmentation", Comput Biol Med 2023, doi
10.1016/j.compbiomed.2023.107284) describes Feature Filtering Distillation and Region Graph Distillation in words; its
equations and code are not public. What follows is OUR READING of these words, not a replication.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hlfd.collectives import batch_ratio
from hlfd.config import look_up
from hlfd.distillation.base import Channels, Features, Method, check_at_least, check_positive, tap_list
from hlfd.distillation.regions import class_masks, node_count, node_means, region_nodes
from hlfd.distillation.shapes import check_labels, check_pair, resize, resize_labels
from hlfd.errors import ConfigError

_EPSILON = 1e-6
Graph = tuple[Tensor, Tensor]
"""Mean features of the nodes (B, M, C), and which nodes are there (B, M)."""


def filtered_feature_loss(
    projected: Tensor, teacher: Tensor, labels: Tensor, classes: int, keep: float = 0.5
) -> Tensor:
    """Feature Filtering Distillation: match the teacher only where and in what is informative about a region.

    Regions r: the classes and a band along the border of each. Per image and class k, with the teacher's channel means
    inside and outside mu_in, mu_out and standard deviation sigma: the score w_c = (mu_in - mu_out)_c / sigma_c; the
    fraction ``keep`` of channels with the largest |w_c| is kept; the evidence of voxel i is sum_c w_c * t_ci / sigma_c
    over kept channels, and of each region the voxels of at least its mean evidence are kept. Loss = mean over the
    regions that are there of the mean over kept voxels and channels of ((s - t)_ci / sigma_c)^2.

    ``projected`` and ``teacher`` (B, C, *spatial) with the same channels; the student is resized linearly to the
    teacher's size, the labels (B, *spatial) by the nearest value.
    """
    check_pair(projected, teacher, same_channels=True)
    check_labels(teacher, labels)
    with torch.no_grad():
        target = teacher.detach().float()
        small = resize_labels(labels, target.shape[2:])
        flat = target.flatten(2)
        sigma = flat.std(2, unbiased=False, keepdim=True) + _EPSILON
        regions = class_masks(small, classes).flatten(2)
        channels, evidence = _filter(flat / sigma, regions[:, :classes], keep)
        positions = _informative(regions, evidence.repeat(1, 2, 1))
        weight = channels.repeat(1, 2, 1)
        kept = positions.sum(2) * weight.sum(2)
    error = ((resize(projected, target.shape[2:]).float().flatten(2) - flat) / sigma).square()
    sums = (torch.einsum("brn,bcn->brc", positions, error) * weight).sum(2)
    there = (kept > 0).to(sums.dtype)
    return batch_ratio((sums / kept.clamp(min=1)).sum(), there.sum(), least=1.0)


def _filter(flat: Tensor, masks: Tensor, keep: float) -> tuple[Tensor, Tensor]:
    """Return kept channels (B, K, C) as 0 and 1, and the evidence of all voxels (B, K, N); ``flat`` is t / sigma."""
    inside = torch.einsum("bkn,bcn->bkc", masks, flat)
    size = masks.sum(2, keepdim=True)
    total = flat.sum(2)[:, None]
    outside = (total - inside) / (flat.shape[2] - size).clamp(min=1)
    score = inside / size.clamp(min=1) - outside
    count = max(1, round(keep * flat.shape[1]))
    chosen = torch.zeros_like(score).scatter_(2, score.abs().topk(count, dim=2).indices, 1.0)
    return chosen, torch.einsum("bkc,bcn->bkn", score * chosen, flat)


def _informative(regions: Tensor, evidence: Tensor) -> Tensor:
    """Keep of each region (B, R, N) the voxels whose evidence is at least the region's mean."""
    mean = (regions * evidence).sum(2, keepdim=True) / regions.sum(2, keepdim=True).clamp(min=1)
    return regions * (evidence >= mean - _EPSILON * mean.abs())


def region_graph_loss(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    labels: Tensor,
    classes: int,
    projections: Sequence[nn.Module],
    parts: int = 2,
) -> tuple[Tensor, Tensor]:
    """Region Graph Distillation: the nodes term and the edges term.

    Nodes: mean features of the background and of the ``parts`` largest connected components of each class, at every
    stage. Nodes term: mean over stages and nodes of 1 - cos(P(n_s), n_t), P a trained projection. Edges: cosines of all
    pairs of nodes of a stage, and, across two stages, cosines of the nodes' rows of edges; edges term: mean over stages
    and pairs of stages of the MSE of the student's and the teacher's edges, so that channel counts need not match.
    Feature maps (B, C, *spatial) from shallow to deep; labels integer (B, *spatial).
    """
    check_labels(students[0], labels)
    finest = max((x.shape[2:] for x in (*students, *teachers)), key=lambda size: size.numel())
    nodes = region_nodes(resize_labels(labels, finest), classes, parts)
    count = node_count(classes, parts)
    own = [node_means(x, resize_labels(nodes, x.shape[2:]), count) for x in students]
    others = [node_means(x.detach(), resize_labels(nodes, x.shape[2:]), count) for x in teachers]
    pairs = list(zip(own, others))
    node_terms = [_node_term(project(s[0]), t[0], s[1] * t[1]) for project, (s, t) in zip(projections, pairs)]
    return torch.stack(node_terms).mean(), torch.stack(_edge_terms(pairs)).mean()


def _node_term(projected: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
    distance = 1.0 - F.cosine_similarity(projected, teacher, dim=2)
    return batch_ratio((distance * there).sum(), there.sum(), least=1.0)


def _edge_terms(stages: Sequence[tuple[Graph, Graph]]) -> list[Tensor]:
    """Return the MSE between the edges of student and teacher, per stage and per pair of stages."""
    there = [s[1] * t[1] for s, t in stages]
    own, others = ([_edges(graph[0], mask) for graph, mask in zip(side, there)] for side in zip(*stages))
    terms = [_masked_mse(a, b, m, m) for a, b, m in zip(own, others, there)]
    for i, j in itertools.combinations(range(len(stages)), 2):
        terms.append(_masked_mse(_rows(own[i], own[j]), _rows(others[i], others[j]), there[i], there[j]))
    return terms


def _edges(means: Tensor, there: Tensor) -> Tensor:
    unit = F.normalize(means, dim=2) * there[:, :, None]
    return torch.einsum("bmc,bnc->bmn", unit, unit)


def _rows(a: Tensor, b: Tensor) -> Tensor:
    """Return cosines (B, M, M) of the rows of edges of two stages."""
    return torch.einsum("bmk,bnk->bmn", F.normalize(a, dim=2), F.normalize(b, dim=2))


def _masked_mse(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    mask = rows[:, :, None] * columns[:, None, :]
    return batch_ratio(((a - b).square() * mask).sum(), mask.sum(), least=1.0)


class Mskd(Method):
    """Our reading of MSKD: ``filter_weight`` * FFD at one tap + ``graph_weight`` * (nodes + edges) over several stages.

    ``regions`` are those of the ``labels``, or of the ``teacher``'s prediction.
    """

    name = "mskd"

    def __init__(
        self,
        student: Channels,
        teacher: Channels,
        classes: int,
        spatial_dims: int,
        filter_tap: str = "d4",
        graph_taps: Sequence[str] = ("e3", "e4", "e5"),
        filter_weight: float = 1.0,
        graph_weight: float = 1.0,
        keep: float = 0.5,
        parts: int = 2,
        regions: str = "labels",
    ) -> None:
        super().__init__(student, teacher, classes, spatial_dims)
        check_at_least(self.name, 0, filter_weight=filter_weight, graph_weight=graph_weight)
        check_at_least(self.name, 1, parts=parts)
        check_positive(self.name, keep=keep)
        if keep > 1:
            raise ConfigError(f"{self.name}: keep is {keep}; a fraction up to 1 was expected.")
        self.by_teacher = look_up(regions, ("labels", "teacher"), f"regions of {self.name}") == "teacher"
        self.filter_tap, self.graph_taps = filter_tap, tap_list(self.name, graph_taps)
        self.weights, self.keep, self.parts = (filter_weight, graph_weight), keep, int(parts)
        taps = [filter_tap, *self.graph_taps]
        self.read(taps, [*taps, "out"] if self.by_teacher else taps)
        self.filter_projection = self.projection(student[filter_tap], teacher[filter_tap])
        # On mean features a linear map does what a 1x1 convolution before the mean would do.
        self.node_projections = nn.ModuleList(nn.Linear(student[name], teacher[name]) for name in self.graph_taps)

    def forward(self, student: Features, teacher: Features, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms ``filter``, ``nodes`` and ``edges``."""
        if self.by_teacher:
            labels = teacher["out"].argmax(1)
        tap = self.filter_tap
        projected = self.filter_projection(student[tap].to(torch.float32))
        filtered = filtered_feature_loss(projected, teacher[tap], labels, self.classes, self.keep)
        nodes, edges = region_graph_loss(
            [student[name] for name in self.graph_taps],
            [teacher[name] for name in self.graph_taps],
            labels,
            self.classes,
            list(self.node_projections),
            self.parts,
        )
        by_filter, by_graph = self.weights
        return {"filter": by_filter * filtered, "nodes": by_graph * nodes, "edges": by_graph * edges}
