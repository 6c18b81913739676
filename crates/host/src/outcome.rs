//! What a run of the program says and how it ends. Plain data: whoever made it has printed nothing.

/// What goes where when the program ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub stdout: String,
    /// For standard error, one line each.
    pub notes: Vec<String>,
    /// The exit status.
    pub status: u8,
}
