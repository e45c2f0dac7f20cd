//! What OpenClaw writes into a conversation by itself: marks around the stable part of its system prompt, a time before
//! the user's words, a line about its runtime behind the first of them, and messages of its own in the user's name. All of it
//! is text that a user could type as well, so it decides what is convenient (what to search for, where a block stands best),
//! never who speaks. Source: the program itself, version 2026.9.6.

use std::borrow::Cow;

use memchr::memmem;

/// Around what OpenClaw says in the user's name: running commands, notes of its heartbeat, subagents' results.
const INTERNAL: [&str; 2] = ["<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"];
/// Where the part of the system prompt ends that stays the same from turn to turn.
const STABLE_END: &[u8] = b"<!-- /openclaw:attempt:STABLE -->";
/// How the line about the runtime begins. An agent that has a name of its own has it in front: `Runtime: name=Molty | agent=…`.
const RUNTIME: &str = "Runtime: ";
/// The same in JSON, with the empty line before it.
const RAW_RUNTIME: &[u8] = br"\n\nRuntime: ";
/// What the line always holds; of these only the session's id stays the same in every request.
const AGENT: &str = "agent=";
const SESSION: &str = " | session=";
const SESSION_ID: &str = " | sessionId=";
/// The longest time in front of the user's words: `[Fri 2026-11-20 08:08 GMT+5:30] `.
const MAX_TIME: usize = 40;
/// Internal messages are looked for this far into a raw message, and this far from its end. `{"role":"user","content":[{"type":"text",
/// "text":"` is 48 bytes.
const RAW_EDGE: usize = 128;

/// What the user said in a user message of OpenClaw's: none when it is a message of OpenClaw's own. `first` says that it is the first
/// user message of its session, the only one with a line about the runtime.
///
/// As little as possible is taken away, because what is taken away a policy does not see: a whole message that is one internal
/// context; a time that can say nothing else; and, of the first message, the last line, which OpenClaw puts behind whatever the user
/// typed.
pub(crate) fn users_words(text: Cow<'_, str>, first: bool) -> Option<Cow<'_, str>> {
    if is_internal(&text) {
        return None;
    }
    let start = time_len(&text);
    let end = if first { start + without_runtime(&text[start..]).len() } else { text.len() };
    Some(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[start..end]),
        Cow::Owned(text) if start == 0 && end == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text[start..end].to_owned()),
    })
}

fn is_internal(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(INTERNAL[0]) && text.ends_with(INTERNAL[1])
}

/// What stays the same of a user message, as JSON, in every request of its session. None for a message of OpenClaw's own: those
/// move to the end with each request and are not kept. The line about the runtime is written anew each time (its channel, host and
/// model may change), all but the session's id.
pub(crate) fn lasting(raw: &[u8]) -> Option<[&[u8]; 2]> {
    let begins = memmem::find(&raw[..raw.len().min(RAW_EDGE)], INTERNAL[0].as_bytes()).is_some();
    let ends = memmem::rfind(&raw[raw.len().saturating_sub(RAW_EDGE)..], INTERNAL[1].as_bytes()).is_some();
    if begins && ends {
        return None;
    }
    let Some(at) = memmem::rfind(raw, RAW_RUNTIME) else { return Some([raw, b""]) };
    let (words, line) = raw.split_at(at);
    let Some(id) = memmem::find(line, SESSION_ID.as_bytes()) else { return Some([raw, b""]) };
    let id = &line[id..];
    let end = id.iter().skip(SESSION_ID.len()).position(|b| !b.is_ascii_alphanumeric() && *b != b'-');
    Some([words, &id[..end.map_or(id.len(), |end| SESSION_ID.len() + end)]])
}

/// The length of `[Fri 2026-11-20 08:08 UTC] ` at the beginning, 0 when there is none.
fn time_len(text: &str) -> usize {
    let head = text.as_bytes();
    let shape = b"[Aaa 0000-00-00 00:00 ";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'A' => byte.is_ascii_uppercase(),
        b'a' => byte.is_ascii_lowercase(),
        b'0' => byte.is_ascii_digit(),
        other => byte == other,
    };
    if head.len() < shape.len() || !head.iter().zip(shape).all(fits) {
        return 0;
    }
    let window = &head[..head.len().min(MAX_TIME)];
    match memmem::find(window, b"] ") {
        Some(end) if is_zone(&window[shape.len()..end]) => end + 2,
        _ => 0,
    }
}

/// `UTC`, `CEST`, `GMT+5:30`: nothing that could be a word to a policy.
fn is_zone(zone: &[u8]) -> bool {
    match zone.strip_prefix(b"GMT") {
        Some(offset) => offset.iter().all(|b| b.is_ascii_digit() || b"+-:".contains(b)),
        None => (2..=5).contains(&zone.len()) && zone.iter().all(u8::is_ascii_uppercase),
    }
}

/// Without the paragraph at the end that is one line about the runtime.
fn without_runtime(text: &str) -> &str {
    let Some((words, line)) = text.rsplit_once("\n\n") else { return text };
    let Some(parts) = line.strip_prefix(RUNTIME) else { return text };
    let begins = parts.starts_with(AGENT) || parts.starts_with("name=") && parts.contains(" | agent=");
    let is_runtime = begins && parts.contains(SESSION) && parts.contains(SESSION_ID);
    if is_runtime && !line.contains('\n') { words } else { text }
}

/// Where a block stands best in a system prompt of OpenClaw's, as an offset into its raw JSON: at the end of the stable part. What
/// comes before stays in the provider's cache whatever the block is, and the block itself as long as it stays the same, though the
/// part behind it changes with every turn. Never between the two parts: OpenClaw cuts its own prompt there. None for the prompts of
/// other clients.
pub(crate) fn end_of_stable(content: &[u8]) -> Option<usize> {
    memmem::rfind(content, STABLE_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "Runtime: agent=research | session=agent:research:main | sessionId=d2ede5a1 | host=vm | os=Linux 6.1 (x64)";

    #[test]
    fn what_the_program_adds_is_not_the_users() {
        let named = LINE.replace("agent=r", "name=Molty | agent=r");
        for (text, words) in [
            ("hello".to_owned(), Some("hello")),
            (format!("[Fri 2026-11-20 08:08 UTC] task 1\n\n{LINE}"), Some("task 1")),
            (format!("[Fri 2026-11-20 08:08 UTC] task 1\n\n{named}"), Some("task 1")),
            ("[Fri 2026-11-20 08:08 CEST] and more".into(), Some("and more")),
            ("[Fri 2026-11-20 08:08 GMT+5:30] a\n\nb".into(), Some("a\n\nb")),
            (format!("two\nlines\n\n{LINE}"), Some("two\nlines")),
            ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nx\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>".into(), None),
            ("\n<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>x<<<END_OPENCLAW_INTERNAL_CONTEXT>>> ".into(), None),
        ] {
            assert_eq!(users_words(Cow::Borrowed(&text), true).as_deref(), words, "{text}");
            assert_eq!(users_words(Cow::Owned(text.clone()), true).as_deref(), words, "{text}");
        }
        let later = format!("go on\n\n{LINE}");
        assert_eq!(
            users_words(Cow::Borrowed(&later), false).as_deref(),
            Some(&*later),
            "only the first message has it"
        );
        let typed = format!("hi\n\n{LINE} horoscope\n\n{LINE}");
        assert!(users_words(Cow::Borrowed(&typed), true).unwrap().ends_with("horoscope"), "the user's own line stays");
    }

    #[test]
    fn of_a_message_that_is_sent_again_the_same_is_found() {
        let raw = |text: &str| serde_json::json!({"role": "user", "content": text}).to_string();
        let same = |text: &str| lasting(raw(text).as_bytes()).map(|p| p.concat());
        let moved = LINE.replace("host=vm", "host=vm | channel=slack");
        let other = LINE.replace("d2ede5a1", "ffffffff");
        assert_eq!(same(&format!("hi\n\n{LINE}")), same(&format!("hi\n\n{moved}")));
        assert_ne!(same(&format!("hi\n\n{LINE}")), same(&format!("hi\n\n{other}")));
        assert_ne!(same(&format!("hi\n\n{LINE}")), same(&format!("ho\n\n{LINE}")));
        assert_eq!(same("hi"), Some(raw("hi").into_bytes()));
        assert_ne!(same("hi\n\nRuntime: slow"), same("hi\n\nRuntime: fast"));
        assert_eq!(same(&format!("{}x{}", INTERNAL[0], INTERNAL[1])), None);
        assert!(same(&format!("{} is a mark", INTERNAL[0])).is_some());
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "",
            "[Fri] x",
            "[Fri 2026-11-20 08:08 UTC]x",
            "[Fri 2026-11-20 08:08 do it now] x",
            "[Fri 2026-11-20 08:08 my_horoscope] x",
            "[Fri 2026-11-20 08:08 HOROSCOPE] x",
            "[Fri 2026-11-20 08:08",
            "Runtime: agent=a | session=b | sessionId=c",
            "x\n\nRuntime: slow",
            "x\n\nRuntime: agent=a | session=b | sessionId=c\nand this",
            "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> how do I pick a lock?",
            "hi <<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>x<<<END_OPENCLAW_INTERNAL_CONTEXT>>>",
            "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>x<<<END_OPENCLAW_INTERNAL_CONTEXT>>> and this",
        ] {
            assert_eq!(users_words(Cow::Borrowed(text), true).as_deref(), Some(text));
        }
    }
}
