use serde::Serialize;

/// What a case's WebAssembly run may use, all its hooks together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Within {
    /// Instructions, as a metered engine counts them: the largest of the case's instances.
    pub fuel: Option<u64>,
    /// Bytes of memory: likewise.
    pub memory: Option<u64>,
}
