//! Words for the operator: `log::info!("spent {tokens} tokens")`. Using it asks for the grant `log`; without the grant the words go nowhere.

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::imports::metaclaw::policy::log::write;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::mock::log::write;

pub use crate::{__log_debug as debug, __log_error as error, __log_info as info, __log_warn as warn};

/// What helps to find a mistake.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($words:tt)+) => { $crate::log::write("debug", &::std::format!($($words)+)) };
}

/// What is worth knowing.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($words:tt)+) => { $crate::log::write("info", &::std::format!($($words)+)) };
}

/// What somebody should look at.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($words:tt)+) => { $crate::log::write("warn", &::std::format!($($words)+)) };
}

/// What went wrong.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($words:tt)+) => { $crate::log::write("error", &::std::format!($($words)+)) };
}
