use super::calls::{Call, Grammar, KIMI_CALL, KIMI_SECTION, KIMI_SECTION_END, NoCall, Reading};
use crate::quirks::Lifts;

/// The most of a text that is held back until it is known what it is: a tool call with its arguments, mostly.
pub(super) const MAX_HELD: usize = 256 << 10;
/// The most white space around a mark.
pub(super) const MAX_INDENT: usize = 64;

/// A piece of the text, as what it turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Reasoning(String),
    Call(Call),
}

/// Where in the text the next words stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    Text,
    Reasoning,
}

/// Reads the text of one answer as it comes, however it is cut, and tells words, reasoning and tool calls apart. What may yet
/// turn out to be a mark is held back until that is decided, and not longer.
pub(super) struct TextLifter {
    lifts: Lifts,
    grammar: Grammar,
    state: State,
    /// What has come and is not decided.
    held: String,
}

enum State {
    /// Nothing has been said yet: reasoning may open.
    Start,
    /// Within reasoning, until this mark.
    Reasoning(&'static str),
    /// After reasoning or a call: white space belongs to the markup.
    Gap,
    Text,
    /// In Kimi's list of calls. `opened`: its opening mark is still held, for nothing has come of it.
    Section {
        opened: bool,
    },
    /// Behind a mark that opens a call.
    Call(Reading),
}

/// What a step came to.
enum Step {
    /// So many bytes are done with.
    Done(usize),
    /// More must come.
    Wait,
}

impl TextLifter {
    pub(super) fn new(lifts: Lifts, grammar: Grammar) -> Self {
        let state = if lifts.reasoning.is_empty() { State::Text } else { State::Start };
        TextLifter { lifts, grammar, state, held: String::new() }
    }

    /// What words without any mark would be; none where that is open.
    pub(super) fn within(&self) -> Option<Within> {
        match self.state {
            _ if !self.held.is_empty() => None,
            State::Text => Some(Within::Text),
            State::Reasoning(_) => Some(Within::Reasoning),
            _ => None,
        }
    }

    /// Whether anything is held back.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// No more calls are looked for: the upstream finds them itself.
    pub(super) fn stop_calls(&mut self) {
        self.grammar = Grammar::default();
    }

    /// Takes the next words.
    pub(super) fn push(&mut self, text: &str, out: &mut Vec<Piece>) {
        self.held.push_str(text);
        let mut at = 0;
        let held = std::mem::take(&mut self.held);
        while at < held.len() {
            match self.step(&held[at..], out) {
                Step::Done(len) => at += len,
                Step::Wait => break,
            }
        }
        self.held = if at == 0 { held } else { held[at..].to_owned() };
        if self.held.len() > MAX_HELD {
            self.flush(out);
        }
    }

    /// Nothing more comes: what is held is no mark.
    pub(super) fn flush(&mut self, out: &mut Vec<Piece>) {
        let held = std::mem::take(&mut self.held);
        let reasons = matches!(self.state, State::Reasoning(_));
        // White space behind a call belongs to the markup.
        let said = if matches!(self.state, State::Section { opened: false }) { held.trim_start() } else { &held };
        say(out, if reasons { Piece::Reasoning } else { Piece::Text }, said);
        if !reasons {
            self.state = State::Text;
        }
    }

    fn step(&mut self, text: &str, out: &mut Vec<Piece>) -> Step {
        match &mut self.state {
            State::Start => self.start(text),
            State::Reasoning(close) => {
                let close = *close;
                let (len, found) = before_mark(text, &[close]);
                say(out, Piece::Reasoning, &text[..len]);
                match found {
                    Some(_) => {
                        self.state = State::Gap;
                        Step::Done(len + close.len())
                    }
                    None => done_or_wait(len),
                }
            }
            State::Gap => {
                let space = text.len() - text.trim_start().len();
                if space < text.len() {
                    self.state = State::Text;
                }
                Step::Done(space)
            }
            State::Text => {
                let (len, found) = before_mark(text, self.grammar.openers());
                say(out, Piece::Text, &text[..len]);
                match found {
                    // The mark stays held, so that it can still be said if nothing comes of it.
                    Some(mark) => {
                        self.state = opened(mark);
                        if len == 0 { self.step(text, out) } else { Step::Done(len) }
                    }
                    None => done_or_wait(len),
                }
            }
            State::Section { opened } => {
                let opened = *opened;
                self.section(text, opened, out)
            }
            State::Call(reading) => match reading.read(text, &self.grammar) {
                None => Step::Wait,
                Some(Ok((call, len))) => {
                    out.push(Piece::Call(call));
                    self.state = if reading.is_kimis() { State::Section { opened: false } } else { State::Gap };
                    Step::Done(len)
                }
                Some(Err(NoCall { mark })) => {
                    say(out, Piece::Text, &text[..mark]);
                    self.state = State::Text;
                    Step::Done(mark)
                }
            },
        }
    }

    fn start(&mut self, text: &str) -> Step {
        let indent = text.len() - text.trim_start().len();
        let rest = &text[indent..];
        let marks = self.lifts.reasoning;
        if let Some((open, close)) = marks.iter().find(|(open, _)| rest.starts_with(open)) {
            self.state = State::Reasoning(close);
            return Step::Done(indent + open.len());
        }
        if indent <= MAX_INDENT && marks.iter().any(|(open, _)| open.starts_with(rest)) {
            return Step::Wait;
        }
        self.state = State::Text;
        Step::Done(0)
    }

    fn section(&mut self, text: &str, opened: bool, out: &mut Vec<Piece>) -> Step {
        let mark = if opened { KIMI_SECTION.len() } else { 0 };
        let rest = text[mark..].trim_start();
        let before = text.len() - rest.len();
        if rest.starts_with(KIMI_CALL) {
            self.state = State::Call(Reading::kimi(before));
            return self.step(text, out);
        }
        if rest.starts_with(KIMI_SECTION_END) {
            self.state = State::Gap;
            return Step::Done(before + KIMI_SECTION_END.len());
        }
        if before <= mark + MAX_INDENT && (KIMI_CALL.starts_with(rest) || KIMI_SECTION_END.starts_with(rest)) {
            return Step::Wait;
        }
        say(out, Piece::Text, &text[..mark]);
        self.state = if opened { State::Text } else { State::Gap };
        Step::Done(mark)
    }
}

/// What a mark that opens a call leads to.
fn opened(mark: &str) -> State {
    match mark {
        KIMI_SECTION => State::Section { opened: true },
        KIMI_CALL => State::Call(Reading::kimi(0)),
        _ => State::Call(Reading::qwen()),
    }
}

fn done_or_wait(len: usize) -> Step {
    if len == 0 { Step::Wait } else { Step::Done(len) }
}

fn say(out: &mut Vec<Piece>, kind: fn(String) -> Piece, text: &str) {
    if !text.is_empty() {
        out.push(kind(text.to_owned()));
    }
}

/// How much of the text comes before the first mark, or before an ending that may become one; and the mark.
fn before_mark<'m>(text: &str, marks: &[&'m str]) -> (usize, Option<&'m str>) {
    for (at, _) in text.match_indices(['<', '◁']) {
        let rest = &text[at..];
        if let Some(mark) = marks.iter().find(|mark| rest.starts_with(**mark)) {
            return (at, Some(mark));
        }
        if marks.iter().any(|mark| mark.starts_with(rest)) {
            return (at, None);
        }
    }
    (text.len(), None)
}
