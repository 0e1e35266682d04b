//! The daemon from outside: the real binary against a real Prometheus and an example service that misbehaves.
//!
//! Never reaches beyond loopback, and never takes a fixed time for a sign that something has happened.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod commands;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod heartbeat;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod kill_matrix;
#[cfg(test)]
#[path = "../kmock_world/mod.rs"]
mod kmock_world;
#[cfg(test)]
mod prometheus_faults;
#[cfg(test)]
mod ready;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod rehearsals;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod safety;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod surroundings;
#[cfg(test)]
mod telling;
#[cfg(test)]
mod triggers;
mod versions;
#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "the fault matrix uses more of the world")]
mod world;
