use std::time::Duration;

use crate::ByteSize;

/// What one agent's policy may use. Every limit is enforced by the policy engine; none is advisory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLimits {
    /// CPU time of one `route` or `select` call, starting the module included.
    pub cpu: Duration,
    /// Time from the start of a `route` or `select` call to its answer, waiting included. More than `cpu`.
    pub wall: Duration,
    /// CPU time of one `filter` call, which nobody waits for.
    pub filter_cpu: Duration,
    /// As `wall`, for a `filter` call.
    pub filter_wall: Duration,
    /// The sum of all linear memories of one call, in all its instances.
    pub memory: ByteSize,
    /// How many turns of this agent may be in the policy at once. At least 1.
    pub concurrency: u32,
    /// How long a call waits for a free place before the built-in decides instead.
    pub queue: Duration,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        PolicyLimits {
            cpu: Duration::from_millis(50),
            wall: Duration::from_millis(100),
            filter_cpu: Duration::from_millis(200),
            filter_wall: Duration::from_millis(250),
            memory: ByteSize(64 << 20),
            concurrency: 16,
            queue: Duration::from_millis(20),
        }
    }
}
