"""The data of a comparison, made once and kept on disk: training patches with teacher outputs, and scored scans.

Files: ``<folder>/data/train/patch_00012.safetensors`` with image, label and ``teacher/<tap>``, ``validation`` the same
without teacher, ``test/00195_00.safetensors`` with HU and label of one scored box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlfd.compare.settings import CompareSettings, PartSettings
from hlfd.data.phantom_source import PhantomSource, class_lookup
from hlfd.data.pool import PoolEntry, build_pool, open_pool
from hlfd.errors import ConfigError, InputError
from hlfd.events import CancelToken, OnEvent, ProgressClock, Stage, ignore
from hlfd.files import write_bytes
from hlfd.networks import build_network
from hlfd.phantom import AcquisitionSettings, render
from hlfd.preprocess.frame import AIR_HU
from hlfd.preprocess.intensity import window_channels
from hlfd.processes import run_all

_SCAN_PHASES = ("corticomedullary", "nephrographic", "excretory")  # with contrast medium, as all scans of KiTS
_CHUNK = 16  # patches per job: enough to make loading the teacher cheap


def data_folder(settings: CompareSettings, part: str) -> Path:
    """Return where the files of ``train``, ``validation`` or ``test`` are kept."""
    return settings.folder / "data" / part


def patch_file(settings: CompareSettings, part: str, index: int) -> Path:
    """Return the file of one patch."""
    return data_folder(settings, part) / f"patch_{index:05d}.safetensors"


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors atomically as safetensors."""
    from safetensors.torch import save

    data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
    write_bytes(path, data)


def read_tensors(path: Path, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Read the named tensors (all by default) of a file; raise ``InputError`` when it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as stream:
            return {name: stream.get_tensor(name) for name in (names or stream.keys())}
    except (OSError, SafetensorError) as error:
        raise InputError(f'"{path}" is missing or damaged: {error}.', "Delete it; it is then made again.") from error


def prepare_data(
    settings: CompareSettings, jobs: int = 1, on_event: OnEvent = ignore, cancel: CancelToken | None = None
) -> None:
    """Make the anatomies, patches, teacher outputs and scored scans that are still missing, in ``jobs`` processes."""
    for part in ("train", "validation", "test"):
        chosen: PartSettings = getattr(settings, part)
        on_event(Stage(f"{part} anatomies"))
        entries = build_pool(chosen.folder, chosen.pool, jobs, on_event, cancel)
        on_event(Stage(f"{part} data"))
        if part == "test":
            missing = [i for i, entry in enumerate(entries) if not scan_file(settings, entry).is_file()]
            work: Callable[[list[int]], int] = partial(_make_scans, settings)
            size = 1
        else:
            missing = [i for i in range(chosen.patches) if not patch_file(settings, part, i).is_file()]
            work, size = partial(_make_patches, settings, part), _CHUNK
        calls = [partial(work, missing[start : start + size]) for start in range(0, len(missing), size)]
        run_all(calls, jobs, ProgressClock(len(missing), on_event, cancel))


def phantom_source(settings: CompareSettings, part: str, seed: int = 0) -> PhantomSource:
    """Return the endless source of patches of a part whose anatomies are there; ``seed`` is added to the part's."""
    chosen: PartSettings = getattr(settings, part)
    k, j, i = (n + 2 * chosen.context for n in settings.patch.size)
    patch = replace(settings.patch, size=(k, j, i))
    return PhantomSource(pool_entries(chosen), patch, settings.learned(), chosen.seed + seed)


def pool_entries(part: PartSettings) -> list[PoolEntry]:
    """Return the anatomies of a part; the folder may hold more than its settings ask for."""
    first, last = part.pool.cases
    wanted = {f"anatomy_{case:05d}_{v:02d}" for case in range(first, last + 1) for v in range(part.pool.variants)}
    return [entry for entry in open_pool(part.folder) if entry.name in wanted]


def _make_patches(settings: CompareSettings, part: str, indices: list[int]) -> int:
    """Render patches and, for training, keep beside them what the teacher says about them."""
    from hlfd.compare.teacher import load_teacher, teacher_outputs
    from hlfd.training.precision import choose_device, choose_precision

    source = phantom_source(settings, part)
    device = choose_device(settings.training.device)
    precision = choose_precision(settings.training.precision, device)
    teacher = load_teacher(settings).to(device) if part == "train" else None
    merged = None if settings.auxiliary else settings.channel_groups()
    for index in indices:
        sample = source.sample(index)
        tensors = {"image": sample["image"].half(), "label": sample["label"].to(torch.uint8)}
        if teacher is not None:
            with precision.autocast():
                outputs = teacher_outputs(teacher, tensors["image"].float().to(device), merged)
            tensors |= {f"teacher/{name}": tensor.cpu() for name, tensor in outputs.items()}
            whole = sample["label"].shape
            tensors = {name: without_context(t, whole, settings.train.context) for name, t in tensors.items()}
        write_tensors(tensors, patch_file(settings, part, index))
    return len(indices)


def without_context(tensor: Tensor, whole: Sequence[int], context: int) -> Tensor:
    """Cut ``context`` voxels of the image off every side of a map (..., k, j, i) that may be coarser than it.

    ``whole`` is the image's spatial size. Raises ``ConfigError`` where that is no whole number of the map's voxels.
    """
    if context == 0:
        return tensor
    for axis, size in zip((-3, -2, -1), whole):
        stride, rest = divmod(size, tensor.shape[axis])
        if rest or context % stride:
            raise ConfigError(f"context is {context}; a multiple of {stride}, the stride of a tap, was expected.")
        tensor = tensor.narrow(axis, context // stride, tensor.shape[axis] - 2 * context // stride)
    return tensor


class StoredPatches:
    """A ``PatchSource`` over kept patches: every one once per round, each round in another order.

    ``taps`` names the teacher's taps to deliver as ``teacher/<tap>``; ``alias`` says under which tap each is kept.
    """

    def __init__(self, files: Sequence[Path], seed: int, taps: Sequence[str] = (), alias: dict[str, str] | None = None):
        if not files:
            raise ConfigError("There are no kept patches.", "Set train.patches.")
        self._files, self._seed, self._taps = list(files), seed, list(taps)
        self._alias = alias or {}
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def sample(self, index: int) -> dict[str, Tensor]:
        """Return ``image`` (C, k, j, i) float32, ``label`` (k, j, i) uint8 and the teacher's taps in float32."""
        cycle, place = divmod(index, len(self._files))
        if self._order[0] != cycle:
            self._order = (cycle, np.random.default_rng([self._seed, cycle]).permutation(len(self._files)))
        kept = {f"teacher/{tap}": f"teacher/{self._alias.get(tap, tap)}" for tap in self._taps}
        path = self._files[int(self._order[1][place])]
        tensors = read_tensors(path, ["image", "label", *dict.fromkeys(kept.values())])
        sample = {"image": tensors["image"].float(), "label": tensors["label"]}
        return {**sample, **{name: tensors[source].float() for name, source in kept.items()}}


def scan_name(entry: PoolEntry) -> str:
    """Return ``<case>_<variant>`` of an anatomy."""
    return entry.name.split("_", 1)[1]


def scan_file(settings: CompareSettings, entry: PoolEntry) -> Path:
    """Return the file of the scored box of an anatomy."""
    return data_folder(settings, "test") / f"{scan_name(entry)}.safetensors"


def _make_scans(settings: CompareSettings, indices: list[int]) -> int:
    entries = pool_entries(settings.test)
    for index in indices:
        hu, label = render_box(settings, entries[index])
        tensors = {"hu": hu.round().to(torch.int16), "label": torch.from_numpy(label)}
        write_tensors(tensors, scan_file(settings, entries[index]))
    return len(indices)


def render_box(settings: CompareSettings, entry: PoolEntry) -> tuple[Tensor, NDArray[np.uint8]]:
    """Return HU and learned classes of the box around organ and masses, as one scan with contrast medium.

    Both are (k, j, i) at the spacing of the patches; sizes are multiples of the student's divisor; beyond the
    anatomy's slices there is air.
    """
    lookup = class_lookup(settings.learned())
    step = settings.patch.spacing_mm / entry.spacing_mm
    axes, inside = [], []
    divisor = build_network(settings.student.network, **settings.student.parameters).divisor
    for axis, (low, high) in enumerate(_box(settings, entry, lookup)):
        count = int(np.ceil((high - low + 1) / step))
        position = np.rint(low + np.arange(count + -count % divisor) * step).astype(int)
        inside.append((position >= 0) & (position < entry.tissue.shape[axis]))
        axes.append(np.clip(position, 0, entry.tissue.shape[axis] - 1))
    tissue = np.ascontiguousarray(np.asarray(entry.tissue)[np.ix_(*axes)])
    within = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    case, variant = (int(part) for part in scan_name(entry).split("_"))
    rng = np.random.default_rng([settings.test.seed, case, variant])
    hu = render(
        torch.from_numpy(tissue),
        settings.patch.spacing_mm,
        int(rng.integers(2**31)),
        AcquisitionSettings(phase=str(rng.choice(_SCAN_PHASES))),
    )
    hu[torch.from_numpy(~within)] = AIR_HU
    return hu, np.where(within, lookup[tissue], 0).astype(np.uint8)


def _box(settings: CompareSettings, entry: PoolEntry, lookup: NDArray[np.uint8]) -> list[tuple[float, float]]:
    """Return first and last voxel along (k, j, i) of organ and masses with the margin."""
    wanted = [i for i, group in enumerate(settings.student_groups()) if i for i in group]
    mask = np.isin(lookup, wanted)[np.asarray(entry.tissue)]
    if not mask.any():
        raise InputError(f'The test anatomy "{entry.name}" shows no organ.', "Choose other cases.")
    margin = settings.test.margin_mm / entry.spacing_mm
    found = [np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    return [(f[0] - margin, f[-1] + margin) for f in found]


def scan_sample(settings: CompareSettings, path: Path) -> dict[str, Tensor]:
    """Return a scored box as ``image`` (C, k, j, i) float32 and ``label`` (k, j, i) uint8."""
    tensors = read_tensors(path)
    channels = window_channels(tensors["hu"].float().numpy(), settings.patch.windows)[0]
    return {"image": torch.from_numpy(channels), "label": tensors["label"]}
