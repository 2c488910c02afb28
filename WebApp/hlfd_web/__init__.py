"""HLFD in the browser: a public server (``front``) gives each browser session its own process (``session``)."""
