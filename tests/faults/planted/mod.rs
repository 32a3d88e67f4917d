//! That the suite sees what it is there to see.

/// The checker, rule by rule.
mod histories;
/// The relay and the Redis that faults are planted with.
mod parts;
/// Real gateways with a real mistake.
mod systems;
