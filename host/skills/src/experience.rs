//! What an agent has seen come of its skills, and what that means for the next choice.

use std::sync::Arc;

use domain::Digest;

use crate::Library;
use crate::vectors::{Table, Vector};

/// How much what a skill was useful for weighs against what it says of itself.
const USE_SHARE: f32 = 0.7;
/// A skill that spoils at least so many of the turns that would have been good is not chosen any more.
const MOST_HARM: f32 = 0.25;
/// How many turns' worth is held, before anything is seen, of the opinion that an agent's turns go well as often as this.
const USUALLY: (f32, f32) = (3.0, 1.0);
/// How many turns' worth is held, before anything is seen of a skill, of the opinion that it changes nothing.
const UNTRIED: f32 = 2.0;
/// A skill is blamed for what is so likely that it would be wrong one time in ten: standard deviations of the normal distribution.
const CAUTION: f32 = 1.28;

/// What an agent has seen come of its skills.
pub trait Experience {
    /// How its turns ended, all of them.
    fn all(&self) -> Ends;

    /// Calls `visit` with the name of each skill of which there is any, and what came of it.
    fn each(&self, visit: &mut dyn FnMut(&str, Use<'_>));
}

/// How turns ended, as sums that fade.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ends {
    /// Of rewards above 0.
    pub good: f32,
    /// Of those below, without their sign.
    pub bad: f32,
}

/// What came of one skill.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The sum of the questions that it helped with; empty when there are none.
    pub helped: &'a [f32],
    /// What is left of that sum, from 0 to 1.
    pub left: f32,
    /// How the turns ended in which it had a part.
    pub ends: Ends,
    /// The file that this is about: of another it says nothing.
    pub digest: Option<Digest>,
}

/// Experience as the ranking wants it: made for one library, once for each change of either.
#[derive(Debug)]
pub struct Learned {
    library: Digest,
    table: Option<Arc<Table>>,
    /// By position in the library.
    rows: Vec<Row>,
    /// What each row's skill has moved to, in their order.
    moved: Table,
}

/// What experience says of one skill.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Row {
    pub(crate) at: usize,
    /// What it spoils, from 0 to 1.
    pub(crate) harm: f32,
    /// How far it has moved, from 0 to 1.
    pub(crate) moved: f32,
}

impl Learned {
    /// What `experience` says of the skills of `library`.
    pub fn of(library: &Library, experience: &dyn Experience) -> Self {
        let (table, all) = (library.table(), experience.all());
        let mut rows: Vec<(Row, Option<Vector>)> = Vec::new();
        experience.each(&mut |name, used| {
            let Some(at) = library.position(name) else { return };
            let harm = match used.digest == Some(library.list()[at].digest) {
                true => harm(used.ends, all),
                false => 0.0,
            };
            let says = table.as_ref().and_then(|table| table.row(at));
            let vector = says.and_then(|says| moved(&says, used.helped, used.left));
            let length = USE_SHARE * used.left * length(used.helped);
            let moved = if vector.is_some() { length / (1.0 + length) } else { 0.0 };
            if harm > 0.0 || moved > 0.0 {
                rows.push((Row { at, harm, moved }, vector));
            }
        });
        rows.sort_by_key(|(row, _)| row.at);
        let (dims, threshold) = table.as_ref().map_or((0, 0.0), |table| (table.dims(), table.threshold()));
        let moved = Table::of(dims, threshold, rows.iter().map(|(_, vector)| vector.as_ref()));
        let rows = rows.into_iter().map(|(row, _)| row).collect();
        Learned { library: library.digest(), table, rows, moved }
    }

    /// Whether it was made for this library as it is now.
    pub fn fits(&self, library: &Library) -> bool {
        let same = |a: &Option<Arc<Table>>, b: &Option<Arc<Table>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        self.library == library.digest() && same(&self.table, &library.table())
    }

    /// What it says of each skill of which it says anything, and the cosine of a question with what that skill has moved to.
    pub(crate) fn cosines(&self, question: &[f32]) -> impl Iterator<Item = (Row, Option<f32>)> {
        self.rows.iter().copied().zip(self.moved.cosines(question))
    }

    /// What it says of the skill at this place of the library.
    pub(crate) fn row(&self, at: usize) -> Option<(usize, Row)> {
        let place = self.rows.binary_search_by_key(&at, |row| row.at).ok()?;
        Some((place, self.rows[place]))
    }

    /// Whether a skill has harmed too much to be chosen.
    pub(crate) fn sinks(&self, at: usize) -> bool {
        self.row(at).is_some_and(|(_, row)| row.sinks())
    }

    /// How many bytes it takes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + size_of_val(self.rows.as_slice()) + self.moved.size()
    }
}

impl Row {
    /// Whether this is too much harm for any turn.
    pub(crate) fn sinks(&self) -> bool {
        self.harm > MOST_HARM
    }
}

/// Which share of the turns that would have been good without it a skill spoils: at least, for one bad turn says little.
///
/// The agent's other turns say how often things go badly anyway; until there are some, they go badly one time in four. How often
/// they go badly with the skill is known the better the more turns it had: what counts is the lower end of what is likely. Half of
/// all turns may go badly with a skill without its being to blame, where they do so without it as well.
fn harm(with: Ends, all: Ends) -> f32 {
    let without = Ends { good: (all.good - with.good).max(0.0), bad: (all.bad - with.bad).max(0.0) };
    let anyway = share(without.bad + USUALLY.1, without.good + USUALLY.0);
    let (bad, good) = (with.bad + UNTRIED * anyway, with.good + UNTRIED * (1.0 - anyway));
    let likely = share(bad, good);
    let spread = (likely * (1.0 - likely) / (bad + good + 1.0)).sqrt();
    let at_least = likely - CAUTION * spread;
    ((at_least - anyway) / (1.0 - anyway)).clamp(0.0, 1.0)
}

fn share(of: f32, rest: f32) -> f32 {
    of / (of + rest)
}

/// Where a skill is that says this of itself and helped with that; none when that is another model's.
fn moved(says: &[f32], helped: &[f32], left: f32) -> Option<Vector> {
    if helped.len() != says.len() {
        return None;
    }
    let sum: Vec<f32> = says.iter().zip(helped).map(|(says, helped)| says + USE_SHARE * left * helped).collect();
    let length = length(&sum);
    (length > 0.0).then(|| Vector::of(&sum.iter().map(|x| x / length).collect::<Vec<_>>()))
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(good: f32, bad: f32) -> Ends {
        Ends { good, bad }
    }

    /// The harm of a skill whose turns ended so, while the agent's others ended otherwise.
    fn of(with: (f32, f32), without: (f32, f32)) -> f32 {
        harm(ends(with.0, with.1), ends(with.0 + without.0, with.1 + without.1))
    }

    #[test]
    fn what_sinks_a_skill_and_what_does_not() {
        for (with, without, sinks) in [
            ((0.0, 0.0), (0.0, 0.0), false),
            // One bad turn, or two, are chance, whatever the agent's other turns are like.
            ((0.0, 1.0), (0.0, 0.0), false),
            ((0.0, 2.0), (0.0, 0.0), false),
            ((0.0, 1.0), (50.0, 0.0), false),
            ((0.0, 2.0), (50.0, 0.0), false),
            // Three or four without a good one are not, also where it is all that the agent has done.
            ((0.0, 4.0), (0.0, 0.0), true),
            ((0.0, 3.0), (50.0, 0.0), true),
            // As often bad as good, where all else goes well.
            ((10.0, 10.0), (50.0, 0.0), true),
            ((10.0, 10.0), (50.0, 50.0), false),
            ((9.0, 1.0), (50.0, 0.0), false),
            // Where everything goes badly no skill is to blame, unless it is worse still.
            ((0.0, 5.0), (0.0, 20.0), false),
            ((1.0, 9.0), (5.0, 45.0), false),
            ((0.0, 20.0), (30.0, 30.0), true),
            // Good turns make up for bad ones.
            ((8.0, 4.0), (0.0, 0.0), false),
            ((1000.0, 0.0), (0.0, 1000.0), false),
        ] {
            let harm = of(with, without);
            assert_eq!(harm > MOST_HARM, sinks, "{with:?} beside {without:?}: {harm}");
        }
    }

    #[test]
    fn harm_grows_with_evidence_and_fades_with_it() {
        let mut before = 0.0;
        for bad in 1..50u8 {
            let now = of((0.0, f32::from(bad)), (20.0, 1.0));
            assert!(now >= before && now <= 1.0, "{bad}: {now}");
            before = now;
        }
        assert!(before > 0.8);
        // After three half-lives, four bad turns are half a one.
        assert!(of((0.0, 0.5), (0.0, 0.0)) < MOST_HARM);
    }
}
