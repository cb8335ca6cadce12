"""From settings to objects: data, network, objective."""
