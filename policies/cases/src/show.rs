//! Expectations and answers in the words of a case, for messages.

use crate::expect::{Expected, ExpectedGate, ExpectedRoute, ExpectedVerdict, Words};
use crate::node::quote;
use crate::outcome::{Answer, Gate, Route, Verdict};

pub(crate) trait Show {
    fn show(&self) -> String;
}

impl<T: Show> Show for Expected<T> {
    fn show(&self) -> String {
        match self {
            Expected::Is(value) => value.show(),
            Expected::Fails(code) => format!("{{ fails: {code} }}"),
        }
    }
}

impl<T: Show> Show for Answer<T> {
    fn show(&self) -> String {
        match self {
            Answer::Is(value) => value.show(),
            Answer::Fails(complaint) => format!("{{ fails: {} }} ({})", complaint.code, complaint.message),
            Answer::NoHook => "no answer: the policy does not have this hook".to_owned(),
        }
    }
}

impl Show for Words {
    fn show(&self) -> String {
        match self {
            Words::Any => "any words".to_owned(),
            Words::Are(words) => quote(words),
            Words::Contain(part) => format!("{{ contains: {} }}", quote(part)),
        }
    }
}

impl Show for String {
    fn show(&self) -> String {
        quote(self)
    }
}

impl Show for Vec<String> {
    fn show(&self) -> String {
        list(self)
    }
}

impl Show for Option<f32> {
    fn show(&self) -> String {
        self.map_or_else(|| "none".to_owned(), |number| number.to_string())
    }
}

impl Show for ExpectedRoute {
    fn show(&self) -> String {
        match self {
            ExpectedRoute::To(target) => target.clone(),
            ExpectedRoute::Refuse(words) => format!("{{ refuse: {} }}", words.show()),
        }
    }
}

impl Show for Route {
    fn show(&self) -> String {
        match self {
            Route::To(target) => target.clone(),
            Route::Refuse(words) => format!("{{ refuse: {} }}", quote(words)),
        }
    }
}

impl Show for ExpectedGate {
    fn show(&self) -> String {
        match self {
            ExpectedGate::Allow => "allow".to_owned(),
            ExpectedGate::Deny(words) => format!("{{ deny: {} }}", words.show()),
            ExpectedGate::Hold(words) => format!("{{ hold: {} }}", words.show()),
        }
    }
}

impl Show for Gate {
    fn show(&self) -> String {
        match self {
            Gate::Allow => "allow".to_owned(),
            Gate::Deny(words) => format!("{{ deny: {} }}", quote(words)),
            Gate::Hold(words) => format!("{{ hold: {} }}", quote(words)),
        }
    }
}

impl Show for ExpectedVerdict {
    fn show(&self) -> String {
        match self {
            ExpectedVerdict::Keep(None) => "keep".to_owned(),
            ExpectedVerdict::Keep(Some(weight)) => format!("{{ keep: {weight} }}"),
            ExpectedVerdict::Drop(words) => format!("{{ drop: {} }}", words.show()),
        }
    }
}

impl Show for Verdict {
    fn show(&self) -> String {
        match self {
            Verdict::Keep(weight) => format!("{{ keep: {weight} }}"),
            Verdict::Drop(words) => format!("{{ drop: {} }}", quote(words)),
        }
    }
}

pub(crate) fn list(items: &[impl AsRef<str>]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    format!("[{}]", items.join(", "))
}
