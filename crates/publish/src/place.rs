//! Where a checkpoint is published, and what came of it.

use simclr_core::hub::RepoId;

/// Where to commit.
pub struct Place<'a> {
    /// The repository.
    pub repo: &'a RepoId,
    /// The branch.
    pub branch: &'a str,
    /// Whether a new repository is private.
    pub private: bool,
}

/// What came of it.
pub enum Outcome {
    /// A commit of this many files.
    Committed {
        /// Where it is: the hub's address of it where the hub tells.
        url: String,
        /// How many.
        files: usize,
    },
    /// The hub has the same bytes.
    Unchanged {
        /// Where they are.
        url: String,
    },
}
