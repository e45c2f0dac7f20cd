//! Learned skills that hurt go by themselves.
//!
//! Of turns it is known how they went: feedback, a judge, the agent's policy. A skill is compared with the agent's other turns, those
//! before it among them: each side's rate of success is a Beta distribution, and what counts is how certain it is that the skill's
//! rate is the lower one. That certainty is looked at after each turn, so it must be high: with these bounds a skill that does nothing
//! is retired in less than one of twenty runs of 120 turns, and one that halves success after twenty turns or so (`tests`).

use std::fmt;
use std::time::SystemTime;

use serde_json::Value;
use skills::{Library, Placed};
use store::{SkillUse, SkillVersion, VersionChange, VersionState};

use domain::{AgentId, Digest};

use crate::apply::{ApplyError, active};
use crate::checks::{Owner, owner};
use crate::tryout::Tryout;
use crate::{Learning, Settings};

/// How certain it must be that turns with the skill go worse.
const CERTAIN: f64 = 0.998;
/// On how much evidence, in turns of which something was said: three, of which little has faded. More would often not come: a skill with
/// which turns went badly three or four times is not chosen for a while.
const LEAST: f64 = 2.5;
/// How finely rates are told apart.
const STEPS: u32 = 400;
/// How the reason of a version begins that was retired for this.
pub(crate) const HURT: &str = "turns with it went worse";

/// The reason of a version that a person has put to use: who goes back to a skill that was retired knows what speaks against it.
pub(crate) const WANTED: &str = "a person put it to use";

/// A skill with which turns go worse than without.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Harm {
    pub(crate) skill: String,
    with: Evidence,
    without: Evidence,
    certainty: f64,
}

/// How turns went, each counted by how much of it is left.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Evidence {
    good: f64,
    bad: f64,
}

impl Evidence {
    fn all(self) -> f64 {
        self.good + self.bad
    }

    fn share(self) -> f64 {
        if self.all() > 0.0 { self.good / self.all() } else { 0.0 }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |evidence: Evidence| format!("{:.0} %", 100.0 * evidence.share());
        write!(
            f,
            "{HURT}: {} of {:.0} good with it, {} of {:.0} without ({:.1} % certain)",
            percent(self.with),
            self.with.all(),
            percent(self.without),
            self.without.all(),
            100.0 * self.certainty
        )
    }
}

/// The skills of which it is certain enough that they hurt.
pub(crate) fn hurting(library: &Library, versions: &[SkillVersion], uses: &[SkillUse], now: SystemTime) -> Vec<Harm> {
    let evidence = |sums: &SkillUse| {
        let left = sums.left(now);
        Evidence { good: sums.succeeded * left, bad: sums.failed * left }
    };
    let Some(all) = uses.iter().find(|sums| sums.skill.is_empty()).map(evidence) else { return Vec::new() };
    let harm = |sums: &SkillUse| {
        // What is known of another text says nothing of this one.
        library.get(&sums.skill).filter(|skill| Some(skill.digest) == sums.digest)?;
        let own = evidence(sums);
        let without = Evidence { good: (all.good - own.good).max(0.0), bad: (all.bad - own.bad).max(0.0) };
        let tried = active(&sums.skill, versions).map(tried_out).unwrap_or_default();
        let with = Evidence { good: own.good + tried.good, bad: own.bad + tried.bad };
        let certainty = (own.all() >= LEAST).then(|| worse(with, without))?;
        (certainty >= CERTAIN).then(|| Harm { skill: sums.skill.clone(), with, without, certainty })
    };
    uses.iter().filter(|sums| !sums.skill.is_empty()).filter_map(harm).collect()
}

/// The version that may go by itself: it was learned, and no person wants it.
pub(crate) fn may_go(name: &str, library: &Library, versions: &[SkillVersion]) -> Option<Digest> {
    let Owner::Learned(digest) = owner(name, library, versions) else { return None };
    let wanted = active(name, versions).and_then(|version| version.reason.as_deref()) == Some(WANTED);
    (!wanted).then_some(digest)
}

/// What was seen of it before it was used.
fn tried_out(version: &SkillVersion) -> Evidence {
    let provenance: Value = serde_json::from_str(&version.provenance).unwrap_or_default();
    let tryout: Option<Tryout> = serde_json::from_value(provenance["tryout"].clone()).ok();
    let score = tryout.and_then(|tryout| tryout.score).unwrap_or_default();
    Evidence { good: f64::from(score.better), bad: f64::from(score.worse) }
}

/// How certain it is that the rate of `with` is lower than that of `without`: both are Beta distributions from an even start, summed
/// up on a grid, because what has faded is no whole number.
fn worse(with: Evidence, without: Evidence) -> f64 {
    let weights = |evidence: Evidence| -> Vec<f64> {
        let rates = (0..STEPS).map(|step| (f64::from(step) + 0.5) / f64::from(STEPS));
        let logs: Vec<f64> = rates.map(|rate| evidence.good * rate.ln() + evidence.bad * (-rate).ln_1p()).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        logs.iter().map(|log| (log - most).exp()).collect()
    };
    let (with, without) = (weights(with), weights(without));
    let (mut below, mut sum) = (0.0, 0.0);
    for (a, b) in with.iter().zip(&without) {
        sum += b * (below + a / 2.0);
        below += a;
    }
    sum / (below * without.iter().sum::<f64>())
}

impl Learning {
    /// Retires the agent's learned skills that hurt. What a person wrote, or decides on, is only reported.
    pub(crate) async fn demote(&self, agent: &AgentId, settings: Settings) -> Result<Vec<Harm>, ApplyError> {
        let folder = self.folder_of(agent);
        let _held = folder.lock().await;
        let versions = self.store.skill_versions(agent).await?;
        let library = self.skills.library(agent);
        let uses = self.store.skill_uses(agent).await?;
        let mut reported = Vec::new();
        for harm in hurting(&library, &versions, &uses, SystemTime::now()) {
            let learned = may_go(&harm.skill, &library, &versions).filter(|_| !settings.review);
            let gone = match learned {
                Some(_) => !matches!(self.remove(agent, &harm.skill, &versions).await?, Placed::Foreign(_)),
                None => false,
            };
            let Some(digest) = learned.filter(|_| gone) else {
                reported.push(harm);
                continue;
            };
            let reason = harm.to_string();
            tracing::warn!(%agent, skill = %harm.skill, "a learned skill is retired: {reason}");
            let (name, state) = (harm.skill, VersionState::Retired);
            let change = VersionChange::Stands { name, digest, state, reason: Some(reason) };
            self.store.change_versions(agent, vec![change]).await?;
            self.metrics.demoted(agent);
        }
        Ok(reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A coin that falls the same way each time the tests run.
    struct Coin(u64);

    impl Coin {
        fn falls(&mut self, chance: f64) -> bool {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let at = (self.0 >> 11) as f64 / (1u64 << 53) as f64;
            at < chance
        }
    }

    /// After how many uses a skill goes with which turns succeed this often, where others do that often; looked at after each use.
    fn goes(coin: &mut Coin, with: f64, without: f64) -> Option<u32> {
        let add = |evidence: &mut Evidence, good: bool| if good { evidence.good += 1.0 } else { evidence.bad += 1.0 };
        let (mut own, mut others) = (Evidence::default(), Evidence::default());
        (0..40).for_each(|_| add(&mut others, coin.falls(without)));
        (1..=120).find(|_| {
            add(&mut own, coin.falls(with));
            if coin.falls(0.5) {
                add(&mut others, coin.falls(without));
            }
            own.all() >= LEAST && worse(own, others) >= CERTAIN
        })
    }

    #[test]
    fn what_does_nothing_stays_and_what_hurts_goes_soon() {
        let mut coin = Coin(0x9E37_79B9_7F4A_7C15);
        for rate in [0.3, 0.5, 0.7, 0.9] {
            let gone = (0..300).filter(|_| goes(&mut coin, rate, rate).is_some()).count();
            assert!(gone <= 15, "{gone} of 300 harmless skills at {rate}");
        }
        for (with, without, most) in [(0.3, 0.7, 30), (0.4, 0.8, 30), (0.0, 0.5, 20)] {
            let mut after: Vec<u32> = (0..100).map(|_| goes(&mut coin, with, without).unwrap_or(u32::MAX)).collect();
            after.sort_unstable();
            assert!(after[50] <= most && after[95] < u32::MAX, "{with} against {without}: {after:?}");
        }
    }

    #[test]
    fn certainty_is_that_of_two_beta_distributions() {
        let evidence = |good: f64, bad: f64| Evidence { good, bad };
        assert!((worse(evidence(3.0, 4.0), evidence(3.0, 4.0)) - 0.5).abs() < 1e-9);
        // Beta(1,1) against Beta(2,1): the integral of x * 2x.
        assert!((worse(evidence(0.0, 0.0), evidence(1.0, 0.0)) - 2.0 / 3.0).abs() < 1e-3);
        assert!(worse(evidence(0.0, 10_000.0), evidence(10_000.0, 0.0)) > 0.999);
        assert!(worse(evidence(9.0, 1.0), evidence(1.0, 9.0)) < 0.01);
    }
}
