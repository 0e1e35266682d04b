//! The `rollbackd` command: arguments in, exit code out.

fn main() {}
