//! What 0.1.1 has beyond 0.1.0: files and values.

use crate::metaclaw::policy::{files, kv, types::Problem};

/// What it asks for: nothing, and then the functions say so.
pub const GRANTS: &str = "";

fn code<T>(done: Result<T, Problem>) -> String {
    done.err().map_or("done".to_owned(), |problem| problem.code)
}

/// What each function answers.
pub fn told() -> String {
    [
        code(files::list("skills", "")),
        code(files::stat("shared", "x")),
        code(files::read("lora", "x", 0, 1)),
        code(files::write("skills", "x", b"x")),
        code(files::remove("skills", "x")),
        code(kv::get("x")),
        code(kv::set("x", b"x")),
        code(kv::delete("x")),
        code(kv::keys("")),
    ]
    .join(" ")
}
