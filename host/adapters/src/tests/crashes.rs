//! The host dies at each step of each change; what it leaves is the state before or after, and doing it again mends all.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::steps::{Step, meanwhile};

/// Does `work` and dies at the `n`th step; whether it came so far.
fn dying_at(n: usize, work: impl FnOnce()) -> Option<Step> {
    let died = std::rc::Rc::new(Cell::new(None));
    let (seen, at) = (Cell::new(0), died.clone());
    let dies = move |step| {
        seen.set(seen.get() + 1);
        if seen.get() == n {
            at.set(Some(step));
            std::panic::panic_any("the host dies here");
        }
    };
    let _ = catch_unwind(AssertUnwindSafe(|| meanwhile(dies, work)));
    meanwhile(|_| {}, || ());
    died.get()
}

/// Calls `check` with the shelf after a death at each step of `change`, and says which steps there were.
fn each_death(
    before: impl Fn(&Shelf),
    change: impl Fn(&Shelf),
    mut check: impl FnMut(&Shelf, Step),
) -> BTreeSet<String> {
    let mut steps = BTreeSet::new();
    for n in 1.. {
        let (_dir, shelf) = shelf();
        before(&shelf);
        let Some(step) = dying_at(n, || change(&shelf)) else { break };
        steps.insert(format!("{step:?}"));
        check(&shelf, step);
    }
    steps
}

fn put(shelf: &Shelf, generation: u64, seed: u8) {
    assert_eq!(shelf.put(&name(generation), &files(seed)).unwrap(), digest_of(&files(seed)));
}

fn names(steps: &[Step]) -> BTreeSet<String> {
    steps.iter().map(|step| format!("{step:?}")).collect()
}

#[test]
fn a_version_is_whole_or_not_there_and_is_put_again_after_any_death() {
    use Step::{Cleared, Created, Drafted, Drafting, Published, Renamed, Synced, Written};
    let before = |shelf: &Shelf| put(shelf, 1, 1);
    let steps = each_death(
        before,
        |shelf| put(shelf, 2, 2),
        |shelf, step| {
            let there = matches!(step, Renamed | Published);
            let wanted = if there { vec![name(1), name(2)] } else { vec![name(1)] };
            assert_eq!(shelf.list().unwrap(), wanted, "{step:?}");
            if there {
                assert_eq!(shelf.read(&name(2), &digest_of(&files(2))).unwrap(), sorted(files(2)), "{step:?}");
            }
            assert_eq!(shelf.put(&name(2), &files(2)).unwrap(), digest_of(&files(2)), "{step:?}");
            assert_eq!(shelf.read(&name(2), &digest_of(&files(2))).unwrap(), sorted(files(2)));
            assert_eq!(shelf.read(&name(1), &digest_of(&files(1))).unwrap(), sorted(files(1)));
            let left = fs::read_dir(&shelf.folder).unwrap().count();
            assert_eq!(left, 2, "nothing is left over: {step:?}");
        },
    );
    assert_eq!(steps, names(&[Cleared, Created, Drafted, Drafting, Published, Renamed, Synced, Written]));
}

#[test]
fn what_a_dead_host_has_left_is_collected() {
    let before = |shelf: &Shelf| put(shelf, 1, 1);
    each_death(
        before,
        |shelf| put(shelf, 2, 2),
        |shelf, step| {
            // Nothing names the second.
            shelf.keep_only(&kept(&[name(1)])).unwrap();
            assert_eq!(shelf.list().unwrap(), [name(1)], "{step:?}");
            assert_eq!(fs::read_dir(&shelf.folder).unwrap().count(), 1, "{step:?}");
        },
    );
}

#[test]
fn a_version_that_nothing_named_is_replaced_by_its_successor() {
    let before = |shelf: &Shelf| put(shelf, 2, 9);
    let steps = each_death(
        before,
        |shelf| put(shelf, 2, 2),
        |shelf, step| {
            for folder in shelf.list().unwrap() {
                let whole = [2, 9].map(|seed| shelf.read(&folder, &digest_of(&files(seed))).is_ok());
                assert!(whole.contains(&true), "a mixture: {step:?}");
            }
            assert_eq!(shelf.put(&name(2), &files(2)).unwrap(), digest_of(&files(2)), "{step:?}");
            assert_eq!(shelf.read(&name(2), &digest_of(&files(2))).unwrap(), sorted(files(2)));
            shelf.keep_only(&kept(&[name(2)])).unwrap();
            assert_eq!(fs::read_dir(&shelf.folder).unwrap().count(), 1, "{step:?}");
        },
    );
    assert!(steps.contains("Moved"));
}

#[test]
fn current_names_the_one_or_the_other() {
    let before = |shelf: &Shelf| {
        shelf.put(&name(1), &files(1)).unwrap();
        shelf.set_current(Some(&name(1))).unwrap();
    };
    each_death(
        before,
        |shelf| shelf.set_current(Some(&name(2))).unwrap(),
        |shelf, step| {
            let after = matches!(step, Step::Renamed | Step::Published);
            assert_eq!(shelf.current().unwrap(), Some(name(if after { 2 } else { 1 })), "{step:?}");
            shelf.set_current(Some(&name(2))).unwrap();
            assert_eq!(shelf.current().unwrap(), Some(name(2)), "{step:?}");
            shelf.keep_only(&kept(&[name(1)])).unwrap();
            assert_eq!(fs::read_dir(&shelf.folder).unwrap().count(), 2, "{step:?}");
        },
    );
    each_death(
        before,
        |shelf| shelf.set_current(None).unwrap(),
        |shelf, step| {
            assert_eq!(shelf.current().unwrap(), None, "{step:?}");
        },
    );
}

#[test]
fn collecting_is_finished_after_any_death() {
    let before = |shelf: &Shelf| (1..=4).for_each(|at| put(shelf, at, 1));
    each_death(
        before,
        |shelf| drop(shelf.keep_only(&kept(&[name(4)])).unwrap()),
        |shelf, step| {
            assert!(shelf.read(&name(4), &digest_of(&files(1))).is_ok(), "{step:?}");
            shelf.keep_only(&kept(&[name(4)])).unwrap();
            assert_eq!(shelf.list().unwrap(), [name(4)], "{step:?}");
        },
    );
}
