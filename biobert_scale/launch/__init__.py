"""SLURM jobs from templates: filled from one site file and the options of a launch, checked, and submitted as
a chain. And a free port for launchers on one machine."""
