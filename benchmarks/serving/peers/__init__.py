"""What users of the peers write to serve a model: as their manuals show it."""
