//! That the suite sees what it is there to see.

/// The disk that evidence is on.
mod disks;
/// The checker, rule by rule.
mod histories;
/// The relay and the Redis that faults are planted with.
mod parts;
/// Real gateways with a real mistake.
mod systems;
