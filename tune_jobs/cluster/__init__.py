"""A Ray cluster for this process: start one on this machine, or join one that runs; shut it down and clean up afterwards."""
