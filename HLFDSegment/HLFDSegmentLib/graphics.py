"""How VTK draws without a display on Linux: found out beforehand, since VTK itself would crash where it cannot."""

from __future__ import annotations

import ctypes
import os
import sys

from hlfd.errors import MissingDependencyError

_VARIABLE = "VTK_DEFAULT_OPENGL_WINDOW"  # read by VTK 9.4 and later
_PLATFORM_DEVICE, _PLATFORM_SURFACELESS = 0x313F, 0x31DD  # EGL_EXT_platform_device, EGL_MESA_platform_surfaceless
_MAX_DEVICES = 16


def prepare_rendering() -> None:
    """Choose how VTK draws without a display; call before the first view. Elsewhere VTK needs no help.

    Raises ``MissingDependencyError`` where Linux has neither a display nor a driver that draws without one.
    """
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get(_VARIABLE):
        return
    if _egl_works():
        os.environ[_VARIABLE] = "vtkEGLRenderWindow"  # else VTK looks for an X server first and complains
    elif _load("libOSMesa.so.8") is not None:
        os.environ[_VARIABLE] = "vtkOSOpenGLRenderWindow"
    else:
        raise MissingDependencyError(
            "Pictures need an OpenGL driver that works without a display, and none was found.",
            "Install one, on Debian and Ubuntu: apt-get install libegl1 libgl1-mesa-dri.",
        )


def _load(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _egl_works() -> bool:
    """Return whether any EGL device or Mesa's surfaceless platform can be initialised."""
    egl = _load("libEGL.so.1")
    if egl is None:
        return False
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    display_at = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not display_at:
        return False
    get_display = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)(display_at)
    candidates = [(_PLATFORM_DEVICE, device) for device in _devices(egl)] + [(_PLATFORM_SURFACELESS, None)]
    return any(_initialises(egl, get_display(platform, native, None)) for platform, native in candidates)


def _devices(egl: ctypes.CDLL) -> list[int]:
    query_at = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    if not query_at:
        return []
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(query_at)
    found, count = (ctypes.c_void_p * _MAX_DEVICES)(), ctypes.c_int()
    query(_MAX_DEVICES, found, ctypes.byref(count))
    return [device for device in found[: count.value] if device]


def _initialises(egl: ctypes.CDLL, display: int | None) -> bool:
    if not display:
        return False
    if not egl.eglInitialize(ctypes.c_void_p(display), None, None):
        return False
    egl.eglTerminate(ctypes.c_void_p(display))
    return True
