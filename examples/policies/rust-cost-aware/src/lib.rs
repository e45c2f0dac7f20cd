//! Routes each turn to the cheapest target that is good enough for it, and within what the day may cost.

use metaclaw_policy::prelude::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
const BYTES_PER_TOKEN: u64 = 4;

/// The agent's `config:`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CostAware {
    /// What a day may cost, in millionths of whatever the prices are in. It begins at 00:00 UTC.
    daily_budget: u64,
    /// From the cheapest to the best.
    tiers: Vec<Tier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tier {
    /// `upstream/model`.
    target: String,
    /// The largest request that it does well, in estimated tokens; without it, any.
    #[serde(default = "any")]
    up_to: u64,
    /// For a million tokens of a request.
    price: u64,
}

fn any() -> u64 {
    u64::MAX
}

impl Policy for CostAware {
    fn check(&self) -> Vec<String> {
        if self.tiers.is_empty() { vec!["`tiers` must name a target".into()] } else { Vec::new() }
    }

    fn route(&self, turn: &Turn) -> Result<Decision> {
        let tokens = turn.body_size().div_ceil(BYTES_PER_TOKEN);
        let account = format!("spent/{}", turn.received_at() / DAY);
        let spent = kv::number(&account)?;
        let cost = |tier: &Tier| tokens.saturating_mul(tier.price);
        let offered = || self.tiers.iter().filter(|tier| turn.target(&tier.target).is_some());
        let fits = |tier: &&Tier| spent.saturating_add(cost(tier)) <= self.daily_budget;
        // The cheapest that is good enough; when the day cannot pay for it, the best that it can.
        let wanted = offered().find(|tier| tokens <= tier.up_to).filter(fits);
        let Some(tier) = wanted.or_else(|| offered().filter(fits).last()) else {
            return Ok(Decision::refuse(
                "Today's budget does not cover this. Please ask something shorter, or tomorrow.",
            ));
        };
        if spent == 0 {
            // A day's first turn closes the accounts of the days before.
            for old in kv::keys("spent/")? {
                kv::delete(&old)?;
            }
        }
        kv::set(&account, (spent + cost(tier)).to_string())?;
        Ok(turn.to(&tier.target)?.because(format!("{tokens} tokens; {} spent today", spent + cost(tier))))
    }
}

metaclaw_policy::export!(CostAware: route);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<CostAware>("cases.yaml");
}
