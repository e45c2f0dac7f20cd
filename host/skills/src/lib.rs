//! What each agent knows how to do: folders of `SKILL.md` files, kept in memory, searchable, always as the disk has them.
//!
//! ```text
//! skills/_shared/<skill>/SKILL.md     seen by every agent
//! skills/<agent>/<skill>/SKILL.md     seen by that agent alone; wins over a shared skill of the same name
//! skills/_default/<skill>/SKILL.md    the agent of requests that name none
//! skills/<skill>/SKILL.md             MetaClaw's flat layout: belongs to `_default` as well, `_default/` winning
//! ```
//!
//! A [`SkillTree`] owns the folder and one thread that follows its changes; a [`Library`] is what one agent sees at one
//! moment, immutable and shared. What they mean, [`Meanings`] finds out, with an [`Embedder`] from elsewhere. Reading creates nothing, copies nothing, and follows no link: a file that is not plain
//! is a [`SkillProblem`], and the rest still load. Front matter is YAML, or what MetaClaw reads as well: plain lines of
//! `key: value`, in which a value needs no quotes whatever it holds. [`add_skill`] is an operator's way in, [`Bundle`] one for
//! many skills at once; [`AgentFiles`]
//! is what an agent's policy may read and write. Neither can leave the tree.

mod agent_files;
mod bundle;
mod common_words;
#[cfg(test)]
mod demo_tests;
mod document;
mod embedding;
mod error;
mod experience;
mod index;
mod library;
mod name;
mod plain_files;
mod plain_writes;
mod ranking;
mod render;
mod scan;
mod skill;
mod steps;
mod template;
mod tree;
mod vector_file;
mod vectors;
mod versions;
mod watch;
mod words;
mod write;

pub use agent_files::{AgentFiles, FileEntry, FileError, FileKind, FileLimits, MAX_READ, Root};
pub use bundle::{Bundle, BundleError, Bundled};
pub use document::SkillDocument;
pub use embedding::{Embedder, Meanings, embed_now, said};
pub use error::{SkillProblem, SkillsError};
pub use experience::{Ends, Experience, Learned, Use};
pub use library::{Library, Scored};
pub use name::{InvalidSkillName, SkillName};
pub use ranking::{Candidate, Question, Verdict};
pub use render::{BLOCK_HEADING, render_block};
pub use scan::{MAX_FILE_BYTES, MAX_FOLDER_BYTES, MAX_FOLDER_SKILLS};
pub use skill::Skill;
pub use template::TemplateSizes;
pub use tree::{SkillTree, TreeOptions};
pub use versions::{Placed, put_version, remove_version};
pub use write::{Added, Shelf, add_skill};
