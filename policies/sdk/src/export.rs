/// Makes a module of a policy: `export!(MyPolicy: route, select);` with the hooks that it has, among `route`, `select`, `render`, `gate`, `filter` and
/// `reward`.
#[macro_export]
macro_rules! export {
    ($policy:ident: $($hook:ident),+ $(,)?) => {
        impl $crate::Exported for $policy {
            const NAME: &'static str = env!("CARGO_PKG_NAME");
            const VERSION: &'static str = env!("CARGO_PKG_VERSION");
            const SUMMARY: &'static str = env!("CARGO_PKG_DESCRIPTION");
            const HOOKS: &'static [&'static str] = &[$(stringify!($hook)),+];
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Module;

            ::std::thread_local! {
                // The settings of an instance never change: they are read once, for all the hooks that it is asked.
                static POLICY: ::core::cell::OnceCell<$policy> = const { ::core::cell::OnceCell::new() };
            }

            impl Module {
                fn ask<T>(
                    hook: impl FnOnce(&$policy) -> $crate::Result<T>,
                ) -> ::core::result::Result<T, $crate::Problem> {
                    POLICY.with(|policy| $crate::run::ask(policy, hook))
                }
            }

            impl $crate::bindings::lifecycle::exports::metaclaw::policy::lifecycle::Guest for Module {
                fn describe() -> $crate::Description {
                    $crate::run::describe::<$policy>()
                }
                fn validate_config(json: ::std::string::String) -> ::std::vec::Vec<$crate::Problem> {
                    $crate::run::validate::<$policy>(&json)
                }
            }
            $crate::bindings::lifecycle::export!(Module with_types_in $crate::bindings::lifecycle);
            $($crate::__export_hook!($hook $policy);)+
        };
    };
}

/// One hook of [`export!`], inside its block.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    (route $policy:ident) => {
        impl $crate::bindings::routing::exports::metaclaw::policy::routing::Guest for Module {
            fn route(turn: &$crate::Turn) -> ::core::result::Result<$crate::Decision, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::route(policy, turn))
            }
        }
        $crate::bindings::routing::export!(Module with_types_in $crate::bindings::routing);
    };
    (select $policy:ident) => {
        impl $crate::bindings::selection::exports::metaclaw::policy::skill_selection::Guest for Module {
            fn select(
                turn: &$crate::Turn,
                catalog: &$crate::Catalog,
            ) -> ::core::result::Result<$crate::Selection, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::select(policy, turn, catalog))
            }
        }
        $crate::bindings::selection::export!(Module with_types_in $crate::bindings::selection);
    };
    (render $policy:ident) => {
        impl $crate::bindings::rendering::exports::metaclaw::policy::skill_rendering::Guest for Module {
            fn render(
                turn: &$crate::Turn,
                catalog: &$crate::Catalog,
                skills: ::std::vec::Vec<::std::string::String>,
            ) -> ::core::result::Result<::std::string::String, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::render(policy, turn, catalog, skills))
            }
        }
        $crate::bindings::rendering::export!(Module with_types_in $crate::bindings::rendering);
    };
    (gate $policy:ident) => {
        impl $crate::bindings::gate::exports::metaclaw::policy::tool_gate::Guest for Module {
            fn gate(
                turn: &$crate::Turn,
                call: $crate::ToolCall,
            ) -> ::core::result::Result<$crate::Permission, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::gate(policy, turn, call))
            }
        }
        $crate::bindings::gate::export!(Module with_types_in $crate::bindings::gate);
    };
    (filter $policy:ident) => {
        impl $crate::bindings::filter::exports::metaclaw::policy::sample_filter::Guest for Module {
            fn filter(sample: &$crate::Sample) -> ::core::result::Result<$crate::Verdict, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::filter(policy, sample))
            }
        }
        $crate::bindings::filter::export!(Module with_types_in $crate::bindings::filter);
    };
    (reward $policy:ident) => {
        impl $crate::bindings::reward::exports::metaclaw::policy::reward::Guest for Module {
            fn reward(
                sample: &$crate::Sample,
            ) -> ::core::result::Result<::core::option::Option<f32>, $crate::Problem> {
                Module::ask(|policy| $crate::Policy::reward(policy, sample))
            }
        }
        $crate::bindings::reward::export!(Module with_types_in $crate::bindings::reward);
    };
}
