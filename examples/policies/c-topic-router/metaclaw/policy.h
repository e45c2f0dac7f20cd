// The contract `metaclaw:policy@1.0.0` for C, without a libc. Include it in one file: the policy.
//
//     MC_POLICY("name", "0.1.0", "One sentence.", "")          what the module is; the last are the grants it needs, such as "skills:read"
//     MC_CHECK(config)          { mc_wrong("…"); }             every `mc_wrong` is one reason not to load it
//     MC_ROUTE(turn)            { return mc_to(target, "why"); }                or mc_refuse("words")
//     MC_SELECT(turn, catalog)  { return mc_chosen(names, count, "why"); }
//     MC_RENDER(turn, catalog, skills) { return mc_rendered(text); }
//     MC_GATE(turn, call)       { return mc_allow(); }                          or mc_deny("why"), mc_hold("why")
//     MC_FILTER(sample)         { return mc_keep(1); }                          or mc_drop("why")
//     MC_REWARD(sample)         { return mc_reward(0.5f); }                     or mc_no_reward()
//
// A hook that is written here must be exported in wit/policy.wit, and the other way round. A hook that cannot decide returns
// `(mc_decision)MC_PROBLEM("code", "message")`, with the type of its own answer.
//
// Nothing is ever freed: what a call needs is taken from one heap, which is empty again for the next call. No text ends with a zero byte.
#ifndef METACLAW_H
#define METACLAW_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// ---- Text and memory

typedef struct { const char *ptr; size_t len; } mc_str;
typedef struct { const mc_str *ptr; size_t len; } mc_strs;

#define MC_STR(literal) ((mc_str){(literal), sizeof(literal) - 1})

__attribute__((weak)) void *memcpy(void *restrict to, const void *restrict from, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = ((const char *)from)[i];
    return to;
}

__attribute__((weak)) void *memset(void *to, int byte, size_t n) {
    for (size_t i = 0; i < n; i++) ((char *)to)[i] = (char)byte;
    return to;
}

extern unsigned char __heap_base;
static uintptr_t mc_top_;

// `size` bytes, all zero in a new page only. There is no way to give them back but the end of the call.
static void *mc_alloc(size_t size) {
    if (mc_top_ == 0) mc_top_ = (uintptr_t)&__heap_base;
    uintptr_t start = (mc_top_ + 7) & ~(uintptr_t)7, have = __builtin_wasm_memory_size(0) << 16;
    if (start + size < start) __builtin_trap();
    if (start + size > have && __builtin_wasm_memory_grow(0, (start + size - have + 65535) >> 16) == (size_t)-1) __builtin_trap();
    mc_top_ = start + size;
    return (void *)start;
}

__attribute__((export_name("cabi_realloc"))) void *mc_realloc_(void *old, size_t old_size, size_t align, size_t size) {
    (void)align; // Never more than 8.
    if (size <= old_size) return old;
    void *block = mc_alloc(size);
    return old_size ? memcpy(block, old, old_size) : block;
}

static inline mc_str mc_text(const char *zero_ended) {
    size_t n = 0;
    while (zero_ended[n]) n++;
    return (mc_str){zero_ended, n};
}

static inline bool mc_same(mc_str a, mc_str b) {
    if (a.len != b.len) return false;
    for (size_t i = 0; i < a.len; i++) if (a.ptr[i] != b.ptr[i]) return false;
    return true;
}

static inline mc_str mc_join(mc_str a, mc_str b) {
    char *text = mc_alloc(a.len + b.len);
    memcpy(text, a.ptr, a.len);
    memcpy(text + a.len, b.ptr, b.len);
    return (mc_str){text, a.len + b.len};
}

// ASCII letters in lower case; all other bytes as they are.
static inline mc_str mc_lower(mc_str text) {
    char *lower = mc_alloc(text.len);
    for (size_t i = 0; i < text.len; i++) lower[i] = text.ptr[i] >= 'A' && text.ptr[i] <= 'Z' ? text.ptr[i] | 32 : text.ptr[i];
    return (mc_str){lower, text.len};
}

// ---- What hooks are asked with, and may answer: laid out as the component model wants it

typedef struct { mc_str upstream, model; } mc_target;
typedef struct { const mc_target *ptr; size_t len; } mc_targets;
typedef struct { mc_str role, text; } mc_message;
typedef struct { mc_str id, name, arguments; } mc_call;
typedef struct { const mc_call *ptr; size_t len; } mc_calls;
typedef struct { mc_str name, description, category, scope; uint32_t tokens; } mc_skill;
typedef struct { const mc_skill *ptr; size_t len; } mc_skills;
typedef struct { mc_str name; float score; uint32_t tokens; } mc_hit;
typedef struct { const mc_hit *ptr; size_t len; } mc_hits;
typedef struct { mc_str code, message; } mc_problem;
typedef struct { const mc_str *ptr; size_t len; } mc_attrs_; // Name, value, name, value; `len` counts the pairs.

typedef struct { int32_t handle; } mc_turn;
typedef struct { int32_t handle; } mc_catalog;
typedef struct { int32_t handle; } mc_sample;

typedef struct {
    uint8_t failed;
    union {
        struct { uint8_t refuse; union { struct { mc_target target; mc_attrs_ attrs; } to; mc_str words; }; };
        mc_problem problem;
    };
} mc_decision;
typedef struct { uint8_t failed; union { struct { mc_strs names; mc_attrs_ attrs; }; mc_problem problem; }; } mc_selection;
typedef struct { uint8_t failed; union { mc_str text; mc_problem problem; }; } mc_rendering;
typedef struct { uint8_t failed; union { struct { uint8_t kind; mc_str why; }; mc_problem problem; }; } mc_permission;
typedef struct { uint8_t failed; union { struct { uint8_t drop; union { float weight; mc_str why; }; }; mc_problem problem; }; } mc_verdict;
typedef struct { uint8_t failed; union { struct { uint8_t some; float value; }; mc_problem problem; }; } mc_rewarded;

#define MC_PROBLEM(code_, message_) {.failed = 1, .problem = {MC_STR(code_), MC_STR(message_)}}

static inline mc_attrs_ mc_attrs_of_(const char *name, mc_str value) {
    if (value.len == 0) return (mc_attrs_){0, 0};
    mc_str *pair = mc_alloc(2 * sizeof(mc_str));
    pair[0] = mc_text(name);
    pair[1] = value.len > 1024 ? (mc_str){value.ptr, 1000} : value;
    return (mc_attrs_){pair, 1};
}

static inline mc_decision mc_to(mc_target target, const char *why) {
    return (mc_decision){.to = {target, mc_attrs_of_("reason", mc_text(why))}};
}
static inline mc_decision mc_refuse(mc_str words) { return (mc_decision){.refuse = 1, .words = words}; }
static inline mc_selection mc_chosen(const mc_str *names, size_t count, const char *why) {
    return (mc_selection){.names = {names, count}, .attrs = mc_attrs_of_("reason", mc_text(why))};
}
static inline mc_rendering mc_rendered(mc_str text) { return (mc_rendering){.text = text}; }
static inline mc_permission mc_allow(void) { return (mc_permission){.kind = 0}; }
static inline mc_permission mc_deny(mc_str why) { return (mc_permission){.kind = 1, .why = why}; }
static inline mc_permission mc_hold(mc_str why) { return (mc_permission){.kind = 2, .why = why}; }
static inline mc_verdict mc_keep(float weight) { return (mc_verdict){.weight = weight}; }
static inline mc_verdict mc_drop(mc_str why) { return (mc_verdict){.drop = 1, .why = why}; }
static inline mc_rewarded mc_reward(float value) { return (mc_rewarded){.some = 1, .value = value}; }
static inline mc_rewarded mc_no_reward(void) { return (mc_rewarded){.some = 0}; }

// ---- What the host is asked. A function that is not called is not imported.

#define MC_HOST_(interface, name) __attribute__((import_module("metaclaw:policy/" interface "@1.0.0"), import_name(name)))

#define MC_STRING_(interface, type, function, name) \
    MC_HOST_(interface, "[method]" #type "." name) void mc_##type##_##function##_(int32_t, mc_str *); \
    static inline mc_str mc_##type##_##function(mc_##type of) { mc_str s; mc_##type##_##function##_(of.handle, &s); return s; }
#define MC_NUMBER_(interface, type, kind, function, name) \
    MC_HOST_(interface, "[method]" #type "." name) kind mc_##type##_##function##_(int32_t); \
    static inline kind mc_##type##_##function(mc_##type of) { return mc_##type##_##function##_(of.handle); }
#define MC_LIST_(interface, type, kind, function, name) \
    MC_HOST_(interface, "[method]" #type "." name) void mc_##type##_##function##_(int32_t, kind *); \
    static inline kind mc_##type##_##function(mc_##type of) { kind l; mc_##type##_##function##_(of.handle, &l); return l; }
// The message of this index, the oldest being 0; false past the end. And anything else.
#define MC_MESSAGES_(type) \
    MC_HOST_(#type, "[method]" #type ".message") void mc_##type##_message_(int32_t, uint32_t, void *); \
    static inline bool mc_##type##_message(mc_##type of, uint32_t index, mc_message *message) { \
        struct { uint8_t some; mc_message message; } found; \
        mc_##type##_message_(of.handle, index, &found); \
        if (found.some) *message = found.message; \
        return found.some; \
    } \
    MC_HOST_(#type, "[method]" #type ".attr") void mc_##type##_attr_(int32_t, const char *, size_t, void *); \
    static inline bool mc_##type##_attr(mc_##type of, mc_str name, mc_str *value) { \
        struct { uint8_t some; mc_str value; } found; \
        mc_##type##_attr_(of.handle, name.ptr, name.len, &found); \
        if (found.some) *value = found.value; \
        return found.some; \
    } \
    MC_HOST_(#type, "[resource-drop]" #type) void mc_##type##_give_back_(int32_t);

MC_STRING_("turn", turn, agent, "agent")                     // mc_turn_agent(turn), and so on
MC_STRING_("turn", turn, session, "session")
MC_NUMBER_("turn", turn, uint32_t, index, "index")
MC_STRING_("turn", turn, kind, "kind")
MC_STRING_("turn", turn, mode, "mode")
MC_NUMBER_("turn", turn, uint64_t, received_at, "received-at")
MC_STRING_("turn", turn, requested_model, "requested-model")
MC_STRING_("turn", turn, user_text, "user-text")
MC_NUMBER_("turn", turn, uint64_t, body_size, "body-size")
MC_NUMBER_("turn", turn, uint32_t, message_count, "message-count")
MC_LIST_("turn", turn, mc_strs, tool_names, "tool-names")
MC_LIST_("turn", turn, mc_targets, targets, "targets")       // Never empty; the first is the configured choice.
MC_MESSAGES_(turn)

MC_STRING_("sample", sample, agent, "agent")
MC_STRING_("sample", sample, session, "session")
MC_NUMBER_("sample", sample, uint64_t, received_at, "received-at")
MC_STRING_("sample", sample, model, "model")
MC_STRING_("sample", sample, user_text, "user-text")
MC_NUMBER_("sample", sample, uint32_t, message_count, "message-count")
MC_STRING_("sample", sample, answer_text, "answer-text")
MC_LIST_("sample", sample, mc_calls, tool_calls, "tool-calls")
MC_STRING_("sample", sample, finish_reason, "finish-reason")
MC_NUMBER_("sample", sample, uint64_t, prompt_tokens, "prompt-tokens")
MC_NUMBER_("sample", sample, uint64_t, completion_tokens, "completion-tokens")
MC_LIST_("sample", sample, mc_strs, skills, "skills")
MC_NUMBER_("sample", sample, bool, has_tokens, "has-tokens")
MC_MESSAGES_(sample)

MC_NUMBER_("catalog", catalog, uint32_t, len, "len")
MC_HOST_("catalog", "[method]catalog.list") void mc_catalog_list_(int32_t, uint32_t, uint32_t, mc_skills *);
MC_HOST_("catalog", "[method]catalog.search") void mc_catalog_search_(int32_t, const char *, size_t, uint32_t, mc_hits *);
MC_HOST_("catalog", "[method]catalog.read") void mc_catalog_read_(int32_t, const char *, size_t, void *);
MC_HOST_("catalog", "[resource-drop]catalog") void mc_catalog_give_back_(int32_t);

// A page of at most 256 skills, by name.
static inline mc_skills mc_catalog_list(mc_catalog catalog, uint32_t offset, uint32_t limit) {
    mc_skills page;
    mc_catalog_list_(catalog.handle, offset, limit, &page);
    return page;
}
// The best `k`, at most 64, for these words, best first.
static inline mc_hits mc_catalog_search(mc_catalog catalog, mc_str words, uint32_t k) {
    mc_hits hits;
    mc_catalog_search_(catalog.handle, words.ptr, words.len, k, &hits);
    return hits;
}
static inline bool mc_catalog_read(mc_catalog catalog, mc_str name, mc_str *body) {
    struct { uint8_t some; mc_str body; } found;
    mc_catalog_read_(catalog.handle, name.ptr, name.len, &found);
    if (found.some) *body = found.body;
    return found.some;
}

// Words for the operator: calling it needs `import metaclaw:policy/log@1.0.0;` in wit/policy.wit, and the grant `log: SIZE`.
MC_HOST_("log", "write") void mc_log_(const char *, size_t, const char *, size_t);
static inline void mc_log(const char *level, mc_str message) {
    mc_str of = mc_text(level);
    mc_log_(of.ptr, of.len, message.ptr, message.len);
}

#include "grants.h"
#include "json.h"
#include "exports.h"
#endif
