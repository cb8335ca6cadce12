"""The application: settings, recipes and remedies, from them to a run folder, and a run to use."""
