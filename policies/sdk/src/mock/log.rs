use crate::mock::with;

/// Words for the operator; `level` is `debug`, `info`, `warn` or `error`.
pub fn write(level: &str, message: &str) {
    with(|host| host.log.push(format!("{level}: {message}")));
}
