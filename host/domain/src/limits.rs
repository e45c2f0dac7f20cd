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
    /// How long a tool call that is held waits for an operator's word.
    pub hold: Duration,
}

/// What happens when an agent's own module does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fallback {
    /// The built-in policy decides; where it has no such hook, the host does as if the agent had no module for it.
    Builtin,
    /// The version of the module that served before a reload decides; without one, the built-in.
    Previous,
    /// The turn, or the tool call, is refused in an ordinary answer.
    Deny,
    /// No skills, no sample, or no reward.
    Drop,
}

/// When a module that keeps failing is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// So many failures within `window`; 0: it is asked every time.
    pub failures: u32,
    /// See `failures`.
    pub window: Duration,
    /// How long it is left alone at first. Then one call tries it; each that fails doubles the time.
    pub backoff: Duration,
    /// The longest that it is left alone.
    pub longest: Duration,
}

/// Whether a module's instances outlive their turn. An instance that does can keep what it has seen of one session for the
/// next one of the same agent: faster, and weaker isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmInstances {
    /// How many wait for their next turn at most; 0: each turn has a fresh one.
    pub warm: u32,
    /// How many hooks one instance answers at most. At least 1.
    pub max_calls: u32,
    /// How long one waits.
    pub idle: Duration,
}

/// How patient the host is with one upstream, and what it does when that upstream fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UpstreamLimits {
    /// How long things may take.
    pub timeouts: UpstreamTimeouts,
    /// How often it is asked again.
    pub retries: RetryLimits,
    /// When it is left alone.
    pub ejection: EjectionLimits,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// To accept a connection, TLS included.
    pub connect: Duration,
    /// From the request to the first byte of the answer's body, asking again included.
    pub first_byte: Duration,
    /// Between two pieces of an answer. It is measured coarsely: the silence ends between one and two of these.
    pub idle: Duration,
    /// For the whole answer, asking again included.
    pub total: Duration,
}

/// How often an upstream is asked again, as long as nothing of an answer has been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// For one turn; 0: never.
    pub max: u32,
    /// The longest pause before asking again. An upstream that wants more is not asked again.
    pub wait: Duration,
    /// Of a hundred turns, so many may ask again while the upstream keeps failing.
    pub budget: u32,
}

/// When an upstream that keeps failing is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EjectionLimits {
    /// So many failures in a row; 0: it is never left alone.
    pub failures: u32,
    /// How long it is left alone at first. Then one turn tries it; each that fails doubles the time.
    pub backoff: Duration,
    /// The longest that it is left alone.
    pub longest: Duration,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        UpstreamTimeouts {
            connect: Duration::from_secs(10),
            // MetaClaw allows 600 s for a whole answer.
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(600),
            total: Duration::from_secs(3600),
        }
    }
}

impl Default for RetryLimits {
    fn default() -> Self {
        RetryLimits { max: 2, wait: Duration::from_secs(10), budget: 20 }
    }
}

impl Default for EjectionLimits {
    fn default() -> Self {
        EjectionLimits { failures: 5, backoff: Duration::from_secs(5), longest: Duration::from_secs(300) }
    }
}

impl Default for WarmInstances {
    fn default() -> Self {
        WarmInstances { warm: 0, max_calls: 128, idle: Duration::from_secs(60) }
    }
}

impl Default for BreakerLimits {
    fn default() -> Self {
        BreakerLimits {
            failures: 5,
            window: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            longest: Duration::from_secs(60),
        }
    }
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
            hold: Duration::from_secs(60),
        }
    }
}
