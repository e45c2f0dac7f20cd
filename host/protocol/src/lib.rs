//! The OpenAI chat wire format, read lazily and changed by splicing.
//!
//! A request body is checked once, from front to back, and never built again: [`ChatRequest`] remembers where things
//! are, and [`ChatRequest::splice`] cuts the few bytes that change out of the client's own. Unknown fields, number
//! formats and `cache_control` reach the upstream as they were written.

mod answer;
mod calls;
mod completion;
mod convert;
mod gate;
mod lift;
mod message;
mod omission;
mod openclaw;
mod quirks;
mod request;
mod scan;
mod splice;
mod value;
mod verdict;

pub use answer::{Answer, tool_calls};
pub use calls::{StreamCalls, WholeCalls};
pub use completion::{CompletionHead, ErrorBody, ErrorDetail, ModelList};
pub use convert::stream_of;
pub use gate::{EventGate, Passed};
pub use lift::{Lifting, StreamLifter};
pub use message::{Message, Role};
pub use omission::Omission;
pub use quirks::{Lifts, Quirks, Refused};
pub use request::{ChatRequest, Claims, RequestError};
pub use splice::{Block, Splice, Spliced};
pub use verdict::{BOM, Flaw, checked};
