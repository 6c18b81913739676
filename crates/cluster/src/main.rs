//! `millrace`: subcommand to one function each. It holds no logic of its own.

fn main() {}
