//! What the writer remembers of the sessions that speak now, so that a repeated history costs a comparison.

use std::collections::HashMap;

use bytes::Bytes;
use domain::{AgentId, EndReason, SessionId, TurnKind};
use hashlink::LruCache;

use crate::pieces::{self, Cut, Place};
use crate::rows::{ContentRow, Hash, RowId};

/// Which session.
pub(crate) type Key = (AgentId, SessionId);

/// A body larger than this share of the memory is not kept for comparison: one would push all others out.
const LARGEST_SHARE: usize = 8;
/// What a known piece costs in memory, roughly, in bytes.
const PIECE_COST: usize = 40;
/// What a session costs in memory without its pieces, roughly, in bytes.
const SESSION_COST: usize = 512;
/// Tokens of a prompt in one piece. Prompts grow at the end, so all but the last piece are shared with earlier ones.
const TOKENS_IN_A_PIECE: usize = 1024;

/// A session's row as the next commit leaves it, and what is known of its content.
pub(crate) struct Session {
    pub(crate) id: RowId,
    pub(crate) started: i64,
    pub(crate) last_active: i64,
    pub(crate) ended: Option<(i64, EndReason)>,
    pub(crate) turns: u64,
    pub(crate) generation: u64,
    pub(crate) client_key: Option<String>,
    known: HashMap<Hash, u32>,
    next: u32,
    previous: Option<Previous>,
    counted: usize,
}

/// The request before this one, in which most of this one is found again.
struct Previous {
    body: Bytes,
    cuts: Vec<Cut>,
    numbers: Vec<u32>,
}

/// Sessions by recent use, within a bound of memory.
pub(crate) struct Sessions {
    map: LruCache<Key, Session>,
    bytes: usize,
    budget: usize,
}

impl Session {
    /// A session that begins now.
    pub(crate) fn new(id: RowId, started: i64) -> Self {
        let (known, ended, previous) = (HashMap::new(), None, None);
        Session {
            id,
            started,
            last_active: started,
            ended,
            turns: 0,
            generation: 0,
            client_key: None,
            known,
            next: 0,
            previous,
            counted: 0,
        }
    }

    /// Tells what the database already holds.
    pub(crate) fn learn(&mut self, number: u32, hash: Hash) {
        self.known.insert(hash, number);
        self.next = self.next.max(number.saturating_add(1));
    }

    /// The recipe of a request body; pieces never seen before are added to `new`.
    ///
    /// Only main turns are remembered for comparison: a client's housekeeping between them shares nothing with them.
    pub(crate) fn keep_body(
        &mut self,
        body: &Bytes,
        kind: TurnKind,
        budget: usize,
        new: &mut Vec<ContentRow>,
    ) -> Vec<u8> {
        if kind == TurnKind::Side {
            let cuts = pieces::cut(body, 0, Place::Outside);
            return pieces::encode(&self.number(body, 0, &cuts, new));
        }
        let (previous, tail) = match self.previous.take() {
            Some(previous) => previous.trim_to(body),
            None => (Previous { body: Bytes::new(), cuts: Vec::new(), numbers: Vec::new() }, Vec::new()),
        };
        let Previous { mut cuts, mut numbers, body: before } = previous;
        let from = cuts.last().copied().unwrap_or(Cut { end: 0, place: Place::Outside });
        // What the tail's pieces end at, seen from the end of the body, is where they ended before.
        let from_end = |cut: &Cut| body.len() - (before.len() - cut.end);
        let tail_start = tail.first().map_or(body.len(), |(start, ..)| body.len() - (before.len() - start));
        let middle = pieces::cut(&body[..tail_start], from.end, from.place);
        numbers.extend(self.number(body, from.end, &middle, new));
        cuts.extend(middle);
        for (_, cut, number) in &tail {
            cuts.push(Cut { end: from_end(cut), place: cut.place });
            numbers.push(*number);
        }
        let recipe = pieces::encode(&numbers);
        if body.len() <= budget / LARGEST_SHARE {
            self.previous = Some(Previous { body: body.clone(), cuts, numbers });
        }
        recipe
    }

    /// The recipe of a prompt's tokens.
    pub(crate) fn keep_tokens(&mut self, tokens: &[u32], new: &mut Vec<ContentRow>) -> Vec<u8> {
        let pieces = tokens.chunks(TOKENS_IN_A_PIECE).map(crate::codes::token_bytes);
        let numbers: Vec<_> = pieces.map(|piece| self.number_of(piece, new)).collect();
        pieces::encode(&numbers)
    }

    /// The numbers of the pieces from `start` to each cut.
    fn number(&mut self, body: &[u8], mut start: usize, cuts: &[Cut], new: &mut Vec<ContentRow>) -> Vec<u32> {
        let pieces = cuts.iter().map(|cut| &body[std::mem::replace(&mut start, cut.end)..cut.end]);
        pieces.map(|piece| self.number_of(piece, new)).collect()
    }

    fn number_of(&mut self, piece: impl AsRef<[u8]> + Into<Vec<u8>>, new: &mut Vec<ContentRow>) -> u32 {
        let hash = hash(piece.as_ref());
        let next = self.next;
        let number = *self.known.entry(hash).or_insert(next);
        if number == next {
            self.next += 1;
            new.push(ContentRow { session: self.id, number, hash, body: piece.into() });
        }
        number
    }

    fn cost(&self) -> usize {
        let previous = self.previous.as_ref().map_or(0, |p| p.body.len() + p.cuts.len() * PIECE_COST);
        SESSION_COST + self.known.len() * PIECE_COST + previous
    }
}

impl Previous {
    /// Splits this into what `body` begins with, and what it ends with: pieces with their start, cut and number.
    fn trim_to(mut self, body: &[u8]) -> (Self, Vec<(usize, Cut, u32)>) {
        let same = pieces::common_prefix(&self.body, body);
        let kept = self.cuts.partition_point(|cut| cut.end <= same);
        let from = kept.checked_sub(1).map_or(0, |last| self.cuts[last].end);
        let mut tail = Vec::new();
        for i in (kept..self.cuts.len()).rev() {
            let start = i.checked_sub(1).map_or(0, |before| self.cuts[before].end);
            let (end_left, start_left) = (self.body.len() - self.cuts[i].end, self.body.len() - start);
            if start_left > body.len() - from
                || body[body.len() - start_left..body.len() - end_left] != self.body[start..self.cuts[i].end]
            {
                break;
            }
            tail.push((start, self.cuts[i], self.numbers[i]));
        }
        tail.reverse();
        self.cuts.truncate(kept);
        self.numbers.truncate(kept);
        (self, tail)
    }
}

impl Sessions {
    /// Remembers nothing yet, and at most about `budget` bytes.
    pub(crate) fn new(budget: usize) -> Self {
        Sessions { map: LruCache::new_unbounded(), bytes: 0, budget }
    }

    /// How much may be remembered, in bytes.
    pub(crate) fn budget(&self) -> usize {
        self.budget
    }

    /// Whether the session's row is known.
    pub(crate) fn contains(&self, key: &Key) -> bool {
        self.map.contains_key(key)
    }

    /// Adds a session that the database holds, or that begins.
    pub(crate) fn insert(&mut self, key: Key, session: Session) {
        self.map.insert(key, session);
    }

    /// The session, as most recently used.
    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Session> {
        self.map.get_mut(key)
    }

    /// Marks every open session as ended, as the database does in one statement.
    pub(crate) fn end_all(&mut self, at: i64, reason: EndReason) {
        for (_, session) in self.map.iter_mut() {
            session.ended.get_or_insert((at, reason));
        }
    }

    /// Forgets an agent's sessions.
    pub(crate) fn forget(&mut self, agent: &AgentId) {
        let bytes = &mut self.bytes;
        self.map.retain(|(owner, _), session| {
            let stays = owner != agent;
            *bytes -= if stays { 0 } else { session.counted };
            stays
        });
    }

    /// Counts what these sessions grew to, then drops the longest unused ones beyond the budget. Call this only when
    /// everything remembered is committed.
    pub(crate) fn settle(&mut self, touched: impl IntoIterator<Item = Key>) {
        for key in touched {
            if let Some(session) = self.map.peek_mut(&key) {
                let cost = session.cost();
                self.bytes = self.bytes + cost - session.counted;
                session.counted = cost;
            }
        }
        while self.bytes > self.budget {
            let Some((_, session)) = self.map.remove_lru() else { break };
            self.bytes -= session.counted;
        }
    }
}

/// The name of a piece within its session.
pub(crate) fn hash(body: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(&blake3::hash(body).as_bytes()[..size_of::<Hash>()]);
    hash
}
