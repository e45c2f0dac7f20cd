// Words in what the user says decide where the turn goes. The agent's `config:` names, for a target, the words that lead there:
//
//     config: { cloud/large: [prove, theorem, integral], local/coder: [compile, segfault, "stack trace"] }
//
// The target with most words in the text wins, the first of equals; with none it is the configured choice. A word counts only as a
// whole word: `prove` is not in `improved`.
#include "metaclaw/policy.h"

MC_POLICY("topic-router", "1.0.0", "Routes by words in what the user says.", "")

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (unsigned char)c >= 128; }

static bool says(mc_str text, mc_str word) {
    for (size_t at = 0; at + word.len <= text.len; at++) {
        if (at > 0 && letter(text.ptr[at - 1])) continue;
        size_t same = 0;
        while (same < word.len && text.ptr[at + same] == word.ptr[same]) same++;
        if (same == word.len && (at + same == text.len || !letter(text.ptr[at + same]))) return true;
    }
    return false;
}

static bool is_target(mc_target target, mc_str name) {
    return mc_same(name, mc_join(mc_join(target.upstream, MC_STR("/")), target.model));
}

MC_CHECK(config) {
    mc_str target, none;
    mc_json words, word;
    while (mc_next(&config, &target, &words)) {
        if (!mc_is_list(words)) {
            mc_wrong_of(mc_join(target, MC_STR(": must be a list of words")));
            continue;
        }
        while (mc_next(&words, &none, &word)) {
            if (!mc_is_text(word) || mc_words(word).len == 0) mc_wrong_of(mc_join(target, MC_STR(": every word must be a text that is not empty")));
        }
    }
}

MC_ROUTE(turn) {
    mc_str text = mc_lower(mc_turn_user_text(turn)), name, none;
    mc_targets targets = mc_turn_targets(turn);
    mc_target best = targets.ptr[0];
    mc_json topics = mc_config(), words, word;
    size_t most = 0;
    while (mc_next(&topics, &name, &words)) {
        size_t count = 0;
        while (mc_next(&words, &none, &word)) count += says(text, mc_lower(mc_words(word)));
        for (size_t i = 0; count > most && i < targets.len; i++) {
            if (!is_target(targets.ptr[i], name)) continue;
            best = targets.ptr[i];
            most = count;
        }
    }
    return mc_to(best, most > 0 ? "the topic's words" : "no topic's words");
}
