//! Sends long requests to a larger model.

use metaclaw_policy::prelude::*;

/// The `config:` of the agent's `policy:` section.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MyPolicy {
    /// From so many bytes on a request is long.
    long: u64,
    /// Who answers long requests: `upstream/model`, as the host's configuration names them.
    large: String,
}

impl Default for MyPolicy {
    fn default() -> Self {
        MyPolicy { long: 8000, large: "cloud/large".into() }
    }
}

impl Policy for MyPolicy {
    fn route(&self, turn: &Turn) -> Result<Decision> {
        if turn.body_size() < self.long { turn.to_first() } else { turn.to(&self.large) }
    }
}

metaclaw_policy::export!(MyPolicy: route);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<MyPolicy>("cases.yaml");
}
