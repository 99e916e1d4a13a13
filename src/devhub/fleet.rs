//! A simulated fleet: what each device does and when, from a seed.
