"""From settings to objects: the only place where names become objects."""
