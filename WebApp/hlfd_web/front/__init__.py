"""The public server: one process without VTK that gives every browser session a process of its own and passes on.

What a session process (``hlfd_web.session``) is given and owes:

* Started as ``python -m hlfd_web.session --folder PRIVATE --data-root ROOT --device DEVICE`` with a process group of
  its own. ``guard.protect(wslink_server.app)``, called in ``on_server_bind``, makes its port answer only to the front:
  other users of the machine can connect to it, but get 403.
* It prints one JSON line ``{"port": N}`` on stdout when it serves on 127.0.0.1, and ends when stdin closes.
* ``HLFD_MODELS`` is set to ROOT/models. PRIVATE is removed when the session ends.

What a page may use (``static/page.js`` is put into it):

* ``<input type="file" data-hlfd-upload="NAME" data-hlfd-purpose="image">`` (``multiple`` and ``webkitdirectory`` work;
  purpose ``model`` takes a model package as zip). While it runs the page sets the trame state ``NAME`` to
  ``{"state": "running", "name": ..., "percent": 0..100}``, then to ``{"state": "done", "name": ..., "path": ...}`` or
  ``{"state": "failed", "name": ..., "message": ...}``. ``path`` is for ``DataRoot.resolve``, and a folder for several
  files or a zip of DICOM; a package goes to PRIVATE/uploads instead, and ``path`` is its file name there.
  ``window.hlfd.cancelUpload("NAME")`` stops it.
* Downloads: ``files/results/...`` and ``files/projects/...`` (names relative to the data root), and
  ``files/session/NAME`` for a file in PRIVATE/downloads. A link needs the attribute ``download``: without it the
  page would take the click for its end and close its connection. ``?show`` shows a .html or .png, without scripts.
* Content from elsewhere, and scripts written inside of the page, are refused by its Content-Security-Policy.
* When the connection is lost ``static/page.js`` lays a notice over the page, reconnects, or offers to start again.
"""
