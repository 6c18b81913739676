//! The one file put on a node: the CNI verbs by `CNI_COMMAND`, else `init`, `validate`, `inspect` by the first argument.

fn main() {}
