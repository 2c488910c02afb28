"""``hlfd phantom OUT``: a simulated abdominal CT with its exact labels, or a sheet of pictures of several."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlfd.cli.console import Console
from hlfd.cli.signals import interrupt_at_once
from hlfd.cli.single import make_folder
from hlfd.errors import MissingDependencyError, UsageError
from hlfd.events import CancelToken

if TYPE_CHECKING:
    from hlfd.phantom import PhantomSettings
    from hlfd.volume import LabelMap, Volume


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument("output", metavar="OUT", type=Path, nargs="?", help="folder for ct.nii.gz and labels.nii.gz")
    parser.add_argument("--sheet", metavar="PNG", type=Path, help="write a sheet of pictures instead")
    parser.add_argument("--rows", type=int, default=4, help="scans on the sheet, of consecutive seeds")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same scan")
    parser.add_argument("--spacing", type=float, nargs="+", default=[1.5], metavar="MM", help="one value, or x y z")
    parser.add_argument("--shape", type=int, nargs=3, metavar=("K", "J", "I"), help="voxels; default: the whole body")
    parser.add_argument("--kits", type=int, metavar="CASE", help="kidney shapes of this KiTS19 case; default: drawn")
    parser.add_argument("--tumors", type=int, help="tumors besides those of the case; default: at random")
    parser.add_argument("--tumor-mm", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of their diameters")
    parser.add_argument("--cysts", type=int, help="cysts; default: at random")
    parser.add_argument("--cyst-mm", type=float, nargs=2, metavar=("LOW", "HIGH"), help="range of their diameters")
    parser.add_argument("--phase", help="native, corticomedullary, nephrographic, excretory; default: at random")
    parser.add_argument("--noise", type=float, metavar="HU", help="standard deviation of the noise")
    parser.add_argument("--labels", choices=("all", "kidney"), default="all", help="which labels to write")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")


def run(args: argparse.Namespace, console: Console, cancel: CancelToken) -> int:
    """Run the command and return the exit code."""
    if (args.output is None) == (args.sheet is None):
        raise UsageError("Either a folder OUT or --sheet out.png was expected.")
    if len(args.spacing) not in (1, 3):
        raise UsageError(f"--spacing has {len(args.spacing)} values; 1 or 3 were expected.")
    settings = make_settings(args)
    with interrupt_at_once():
        return _sheet(args, settings, console) if args.sheet else _scan(args, settings, console)


def make_settings(args: argparse.Namespace) -> PhantomSettings:
    """Return the settings that the arguments ask for; raise ``MissingDependencyError`` without torch."""
    require_torch("The simulation of CT scans")
    from hlfd.phantom import AcquisitionSettings, AnatomySettings, PhantomSettings

    spacing = args.spacing[0] if len(args.spacing) == 1 else tuple(args.spacing)
    shape = tuple(args.shape) if args.shape else None
    ranges: dict[str, Any] = {
        name: tuple(getattr(args, name)) for name in ("tumor_mm", "cyst_mm") if getattr(args, name)
    }
    anatomy = AnatomySettings(spacing_mm=spacing, shape=shape, tumors=args.tumors, cysts=args.cysts, **ranges)
    return PhantomSettings(anatomy, AcquisitionSettings(phase=args.phase, noise=args.noise))


def require_torch(what: str) -> None:
    """Raise ``MissingDependencyError`` when ``what`` cannot run for lack of torch."""
    import importlib.util

    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("scipy") is None:
        raise MissingDependencyError(f"{what} needs torch and scipy.", 'Install them with: pip install "hlfd[train]".')


def _sheet(args: argparse.Namespace, settings: PhantomSettings, console: Console) -> int:
    from hlfd.phantom import sheet

    if args.sheet.suffix.lower() != ".png":
        raise UsageError(f'--sheet "{args.sheet}" is no PNG file; a name ending in .png was expected.')
    make_folder(args.sheet.absolute().parent)
    seeds = list(range(args.seed, args.seed + args.rows))
    path = sheet(args.sheet, seeds, settings)
    console.say(f"Wrote {path}")
    console.result({"command": "phantom", "sheet": path, "seeds": seeds})
    return 0


def _scan(args: argparse.Namespace, settings: PhantomSettings, console: Console) -> int:
    paths, volume, truth = write_scan(args, settings)
    console.say(f"Wrote {paths['image']} and {paths['labels']}: {describe(volume)}")
    table = [{"value": label.value, "name": label.name} for label in truth.labels]
    size = {"shape": volume.shape, "spacing_mm": volume.spacing}
    console.result({"command": "phantom", "seed": args.seed, **paths, **size, "table": table})
    return 0


def write_scan(args: argparse.Namespace, settings: PhantomSettings) -> tuple[dict[str, Path], Volume, LabelMap]:
    """Simulate a scan, write ct.nii.gz and labels.nii.gz into the output folder, and return paths and images."""
    from hlfd.io import write_label_map, write_volume
    from hlfd.phantom import load_kits, simulate

    make_folder(args.output)
    kits = None if args.kits is None else load_kits(args.kits)
    volume, truth = simulate(settings, args.seed, kits, args.device)
    if args.labels == "kidney":
        truth = kidney_only(truth)
    paths = {"image": args.output / "ct.nii.gz", "labels": args.output / "labels.nii.gz"}
    write_volume(volume, paths["image"])
    write_label_map(truth, paths["labels"])
    return paths, volume, truth


def kidney_only(labels: LabelMap) -> LabelMap:
    """Return the label map without everything that is no kidney, tumour or cyst of a kidney."""
    import numpy as np

    from hlfd.labels import KIDNEY_LABELS
    from hlfd.volume import LabelMap

    wanted = [label.value for label in KIDNEY_LABELS]
    array = np.where(np.isin(labels.array, wanted), labels.array, 0).astype(np.uint8)
    return LabelMap(array, labels.affine, KIDNEY_LABELS)


def describe(volume: Volume) -> str:
    """Return size and spacing in words."""
    k, j, i = volume.shape
    return f"{i} x {j} x {k} voxels of {' x '.join(f'{value:.3g}' for value in volume.spacing)} mm"
