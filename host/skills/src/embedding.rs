//! The thread that says what texts mean: questions first, then the skills that it does not know yet.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use domain::Digest;

use crate::vector_file::VectorFile;
use crate::vectors::{Table, Vector};
use crate::{Library, Skill, SkillsError};

/// The most questions that wait at a time; further ones are ranked by words.
const MAX_WAITING: usize = 64;
/// While many skills are new, what is known of them already is put to use this often.
const PUBLISH: Duration = Duration::from_secs(1);

/// What makes vectors of texts, whose angle says how near their meanings are.
pub trait Embedder: Send + Sync {
    /// Names what makes the vectors: those of one model say nothing about those of another.
    fn model(&self) -> Digest;
    /// How long they are.
    fn dims(&self) -> usize;
    /// Whether one takes microseconds, so that a question's is made in place.
    fn is_quick(&self) -> bool;
    /// The score (see [`Library::rank`]) that an agent's best skill must reach for any to be chosen.
    fn threshold(&self) -> f32;
    /// The cosine above which two whole texts, [`said`], are about the same matter.
    fn twins(&self) -> f32;
    /// The vector of a text, of length 1; all zeros when the text says nothing.
    ///
    /// # Errors
    /// Why there is none.
    fn embed(&self, text: &str) -> Result<Vec<f32>, String>;
}

/// What is known of meanings, and the thread that finds out. [`close`](Self::close) or dropping it ends the thread.
pub struct Meanings {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    embedder: Arc<dyn Embedder>,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    questions: VecDeque<Ask>,
    /// What everybody sees now, when that has changed since it was last looked at.
    libraries: Option<Vec<Arc<Library>>>,
    stop: bool,
}

/// A question that somebody waits for.
struct Ask {
    text: String,
    /// Nobody waits longer.
    until: Instant,
    answer: Box<dyn FnOnce(Vec<f32>) + Send>,
}

/// The vectors of skills, by the text that they were made of.
struct Known {
    vectors: HashMap<Digest, Arc<Vector>>,
    file: Option<VectorFile>,
}

/// How much of a skill's vector is its description's; the rest is its name's. Its body would only dilute that.
const DESCRIPTION_SHARE: f32 = 0.7;

/// What a skill's vector is made of.
fn key_of(skill: &Skill) -> Digest {
    Digest::of(format!("{}\n{}", skill.name, skill.description).as_bytes())
}

fn vector_of(skill: &Skill, embedder: &dyn Embedder) -> Result<Vec<f32>, String> {
    let (says, called) = (embedder.embed(&skill.description)?, skill.name.as_str().replace(['-', '_'], " "));
    let called = embedder.embed(&called)?;
    let mix = |(says, called): (&f32, &f32)| DESCRIPTION_SHARE * says + (1.0 - DESCRIPTION_SHARE) * called;
    let mut mixed: Vec<f32> = says.iter().zip(&called).map(mix).collect();
    let length = mixed.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        mixed.iter_mut().for_each(|x| *x /= length);
    }
    Ok(mixed)
}

/// What two skills are compared by, to tell whether they are about the same: all that they say.
pub fn said(name: &str, description: &str, body: &str) -> String {
    format!("{}. {description}\n{body}", name.replace(['-', '_'], " "))
}

impl Meanings {
    /// Starts the thread. `file` keeps vectors from one start to the next; without one they are made anew.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(embedder: Arc<dyn Embedder>, file: Option<PathBuf>) -> Result<Arc<Self>, SkillsError> {
        let shared = Arc::new(Shared { embedder, queue: Mutex::default(), work: Condvar::new() });
        let of_thread = Arc::clone(&shared);
        let body = move || of_thread.run(file);
        let thread = thread::Builder::new().name("meanings".into()).spawn(body);
        let thread = thread.map_err(|e| SkillsError::Thread(e.to_string()))?;
        Ok(Arc::new(Meanings { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// What makes the vectors.
    pub fn embedder(&self) -> &dyn Embedder {
        &*self.shared.embedder
    }

    /// Has the thread make a question's vector, if it can begin before `until`; `answer` gets it on that thread. False, and
    /// `answer` is dropped, when too many wait already; it is dropped as well when there is no vector.
    pub fn ask(&self, text: &str, until: Instant, answer: impl FnOnce(Vec<f32>) + Send + 'static) -> bool {
        let mut queue = self.shared.queue();
        if queue.stop || queue.questions.len() >= MAX_WAITING {
            return false;
        }
        queue.questions.push_back(Ask { text: text.to_owned(), until, answer: Box::new(answer) });
        drop(queue);
        self.shared.work.notify_one();
        true
    }

    /// What everybody sees now: the thread sees to it that its vectors are known.
    pub(crate) fn follow(&self, libraries: Vec<Arc<Library>>) {
        self.shared.queue().libraries = Some(libraries);
        self.shared.work.notify_one();
    }

    /// Ends the thread, after what it is at: some milliseconds.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.shared.queue().stop = true;
            self.shared.work.notify_one();
            if thread.join().is_err() {
                tracing::error!("the thread that says what skills mean had failed");
            }
        }
    }
}

impl Drop for Meanings {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Meanings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meanings").field("model", &self.shared.embedder.model()).finish_non_exhaustive()
    }
}

/// Makes the vectors of a library that are not in `file`, on the calling thread, and gives it all. For looking at one without a
/// running host; nothing is written.
pub fn embed_now(library: &Library, embedder: &dyn Embedder, file: Option<PathBuf>) {
    let file = file.and_then(|path| VectorFile::read(path, embedder.model(), embedder.dims()).ok());
    let mut known = Known { vectors: file.unwrap_or_default(), file: None };
    for skill in library.list() {
        known.learn(skill, embedder);
    }
    library.set_table(known.table(library, embedder));
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn run(&self, file: Option<PathBuf>) {
        let mut known = Known::open(file, &*self.embedder);
        let mut libraries = Vec::new();
        loop {
            let mut queue = self.queue();
            while !queue.stop && queue.questions.is_empty() && queue.libraries.is_none() {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.stop {
                return;
            }
            if let Some(now) = queue.libraries.take() {
                libraries = now;
            }
            drop(queue);
            self.catch_up(&mut known, &libraries);
        }
    }

    /// Answers all questions, and makes all vectors that the libraries lack unless they have changed meanwhile.
    fn catch_up(&self, known: &mut Known, libraries: &[Arc<Library>]) {
        let started = Instant::now();
        let mut published = started;
        let mut made = 0;
        for library in libraries.iter().filter(|library| !library.is_understood()) {
            for skill in library.list() {
                if !self.answer_questions() {
                    return;
                }
                made += usize::from(known.learn(skill, &*self.embedder));
                if published.elapsed() >= PUBLISH {
                    library.set_table(known.table(library, &*self.embedder));
                    published = Instant::now();
                }
            }
            library.set_table(known.table(library, &*self.embedder));
        }
        if made > 0 {
            known.keep(libraries);
            tracing::debug!(skills = made, took = ?started.elapsed(), "the meaning of new skills is known");
        }
        self.answer_questions();
    }

    /// False when there is something else to do than what is under way.
    fn answer_questions(&self) -> bool {
        loop {
            let mut queue = self.queue();
            if queue.stop {
                return false;
            }
            let Some(ask) = queue.questions.pop_front() else { return queue.libraries.is_none() };
            drop(queue);
            if Instant::now() < ask.until {
                match self.embedder.embed(&ask.text) {
                    Ok(vector) => (ask.answer)(vector),
                    Err(error) => tracing::warn!(error, "a question is ranked by its words alone"),
                }
            }
        }
    }
}

impl Known {
    fn open(file: Option<PathBuf>, embedder: &dyn Embedder) -> Self {
        let opened = file.map(|path| (VectorFile::open(path.clone(), embedder.model(), embedder.dims()), path));
        match opened {
            Some((Ok((file, vectors)), _)) => Known { vectors, file: Some(file) },
            Some((Err(error), path)) => {
                tracing::warn!(%error, file = %path.display(), "vectors of skills are not kept: the next start makes them anew");
                Known { vectors: HashMap::new(), file: None }
            }
            None => Known { vectors: HashMap::new(), file: None },
        }
    }

    /// Makes a skill's vector if it is not known. True when it was made.
    fn learn(&mut self, skill: &Skill, embedder: &dyn Embedder) -> bool {
        let key = key_of(skill);
        if self.vectors.contains_key(&key) {
            return false;
        }
        let vector = match vector_of(skill, embedder) {
            Ok(vector) => Arc::new(Vector::of(&vector)),
            Err(error) => {
                tracing::warn!(skill = %skill.name, error, "a skill is found by its words alone");
                return false;
            }
        };
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.add(key, &vector)) {
            tracing::warn!(%error, "vectors of skills are not kept any more: the next start makes them anew");
            self.file = None;
        }
        self.vectors.insert(key, vector);
        true
    }

    fn table(&self, library: &Library, embedder: &dyn Embedder) -> Table {
        let vectors = library.list().iter().map(|skill| self.vectors.get(&key_of(skill)));
        Table::of(embedder.dims(), embedder.threshold(), vectors.map(|vector| vector.map(|v| &**v)))
    }

    /// Forgets what no library has any more; the file forgets it when most of what is in it is gone.
    fn keep(&mut self, libraries: &[Arc<Library>]) {
        let used: HashSet<Digest> =
            libraries.iter().flat_map(|library| library.list()).map(|skill| key_of(skill)).collect();
        self.vectors.retain(|key, _| used.contains(key));
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.tidy(&self.vectors)) {
            tracing::warn!(%error, "vectors of skills are not kept any more: the next start makes them anew");
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests;
