"""What a panel says about devices, from the answer of the job ``probe``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTOMATIC = ("auto", "Automatic")
CPU = ("cpu", "CPU")
_BACKENDS = {"openvino": "OpenVINO", "torch": "PyTorch"}


def device_choices(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (id, caption) of all devices; those that cannot be used are listed and say so."""
    found = [AUTOMATIC]
    for device in answer.get("devices", ()):
        caption = "CPU" if device["id"] == "cpu" else f"{device['name']} ({device['id']})"
        found.append((device["id"], caption if device.get("usable", True) else f"{caption} - not usable"))
    return found if len(found) > 1 else [AUTOMATIC, CPU]


def device_sentence(answer: Mapping[str, Any]) -> str:
    """Return what will really be used, in a sentence, or why nothing can be."""
    chosen = answer.get("chosen", {})
    if chosen.get("problem"):
        return str(chosen["problem"])
    devices = {device["id"]: device for device in answer.get("devices", ())}
    device = devices.get(chosen.get("device"), {})
    backend = _BACKENDS.get(chosen.get("backend"), str(chosen.get("backend")))
    name = device.get("name") or chosen.get("device")
    size = f", {device['threads']} threads" if device.get("threads") else _memory(device.get("memory_mb"))
    sentence = f"Uses {name} with {backend}{size}."
    problem = answer.get("torch", {}).get("problem")
    return f"{sentence} {problem}" if problem else sentence


def _memory(megabytes: int | None) -> str:
    return f", {megabytes / 1024:.0f} GB" if megabytes else ""
