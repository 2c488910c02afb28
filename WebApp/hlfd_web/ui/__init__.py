"""The page: its frame, what lies over the views, and small widgets that panels share."""
