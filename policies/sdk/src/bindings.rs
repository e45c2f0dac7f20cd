//! What `wit-bindgen` makes of the contract. Each hook is a world of its own, so that a module exports the hooks that it names and no others; the
//! linker leaves out the imports that nothing uses.
#![allow(missing_docs, clippy::all, reason = "generated")]

pub mod imports {
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package metaclaw:sdk-imports;
            world imports {
                import metaclaw:policy/types@1.0.0;
                import metaclaw:policy/settings@1.0.0;
                import metaclaw:policy/turn@1.0.0;
                import metaclaw:policy/catalog@1.0.0;
                import metaclaw:policy/sample@1.0.0;
                import metaclaw:policy/log@1.0.0;
                import metaclaw:policy/files@1.0.0;
                import metaclaw:policy/kv@1.0.0;
            }
        ",
        world: "metaclaw:sdk-imports/imports",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
    });
}

pub mod lifecycle {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-lifecycle; world lifecycle { export metaclaw:policy/lifecycle@1.0.0; }",
        world: "metaclaw:sdk-lifecycle/lifecycle",
        with: { "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types },
        pub_export_macro: true,
    });
}

pub mod routing {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-routing; world routing { export metaclaw:policy/routing@1.0.0; }",
        world: "metaclaw:sdk-routing/routing",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/turn@1.0.0": crate::bindings::imports::metaclaw::policy::turn,
        },
        pub_export_macro: true,
    });
}

pub mod selection {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-selection; world selection { export metaclaw:policy/skill-selection@1.0.0; }",
        world: "metaclaw:sdk-selection/selection",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/turn@1.0.0": crate::bindings::imports::metaclaw::policy::turn,
            "metaclaw:policy/catalog@1.0.0": crate::bindings::imports::metaclaw::policy::catalog,
        },
        pub_export_macro: true,
    });
}

pub mod rendering {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-rendering; world rendering { export metaclaw:policy/skill-rendering@1.0.0; }",
        world: "metaclaw:sdk-rendering/rendering",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/turn@1.0.0": crate::bindings::imports::metaclaw::policy::turn,
            "metaclaw:policy/catalog@1.0.0": crate::bindings::imports::metaclaw::policy::catalog,
        },
        pub_export_macro: true,
    });
}

pub mod gate {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-gate; world gate { export metaclaw:policy/tool-gate@1.0.0; }",
        world: "metaclaw:sdk-gate/gate",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/turn@1.0.0": crate::bindings::imports::metaclaw::policy::turn,
        },
        pub_export_macro: true,
    });
}

pub mod filter {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-filter; world filter { export metaclaw:policy/sample-filter@1.0.0; }",
        world: "metaclaw:sdk-filter/filter",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/sample@1.0.0": crate::bindings::imports::metaclaw::policy::sample,
        },
        pub_export_macro: true,
    });
}

pub mod reward {
    wit_bindgen::generate!({
        path: "wit",
        inline: "package metaclaw:sdk-reward; world reward-hook { export metaclaw:policy/reward@1.0.0; }",
        world: "metaclaw:sdk-reward/reward-hook",
        with: {
            "metaclaw:policy/types@1.0.0": crate::bindings::imports::metaclaw::policy::types,
            "metaclaw:policy/sample@1.0.0": crate::bindings::imports::metaclaw::policy::sample,
        },
        pub_export_macro: true,
    });
}
