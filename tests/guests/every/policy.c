// Uses everything that the helper has.
#include "metaclaw/policy.h"

MC_POLICY("every", "1.0.0", "Uses everything.", "skills:read")
MC_CHECK(config) { (void)config; }

static mc_str line(const char *what, mc_str value) { return mc_join(mc_text(what), value); }

MC_ROUTE(turn) {
    mc_str value, user = mc_turn_user_text(turn);
    mc_message message;
    mc_strs keys;
    mc_log("info", line("agent ", mc_turn_agent(turn)));
    mc_log("info", line("session ", mc_turn_session(turn)));
    mc_log("info", line("kind ", mc_turn_kind(turn)));
    mc_log("info", line("mode ", mc_turn_mode(turn)));
    mc_log("info", line("model ", mc_turn_requested_model(turn)));
    for (uint32_t i = 0; mc_turn_message(turn, i, &message); i++) mc_log("info", line("message ", message.role));
    for (size_t i = 0; i < mc_turn_tool_names(turn).len; i++) mc_log("info", line("tool ", mc_turn_tool_names(turn).ptr[i]));
    if (mc_turn_attr(turn, MC_STR("none"), &value) || mc_turn_index(turn) > 99 || mc_turn_body_size(turn) == 0) __builtin_trap();
    if (mc_turn_received_at(turn) == 0 || mc_turn_message_count(turn) == 0) __builtin_trap();
    if (!mc_kv_get(MC_STR("count"), &value) || !mc_kv_set(MC_STR("count"), mc_join(value, MC_STR("1")))) __builtin_trap();
    if (!mc_kv_set(MC_STR("gone"), MC_STR("x")) || !mc_kv_delete(MC_STR("gone"))) __builtin_trap();
    if (!mc_kv_keys(MC_STR(""), &keys) || keys.len != 1) __builtin_trap();
    mc_log("warn", line("kept ", keys.ptr[0]));
    if (mc_same(user, MC_STR("refuse"))) return mc_refuse(MC_STR("refused"));
    if (mc_same(user, MC_STR("throw"))) return (mc_decision)MC_PROBLEM("thrown", "on purpose");
    return mc_to(mc_turn_targets(turn).ptr[0], "why");
}

MC_SELECT(turn, catalog) {
    mc_str bytes;
    mc_entries entries;
    mc_entry entry;
    mc_skills all = mc_catalog_list(catalog, 0, 256);
    if (all.len != mc_catalog_len(catalog)) __builtin_trap();
    for (size_t i = 0; i < all.len; i++) mc_log("info", line("skills ", all.ptr[i].name));
    if (!mc_files_stat(MC_STR("skills"), MC_STR("tides/notes.txt"), &entry)) __builtin_trap();
    if (!mc_files_read(MC_STR("skills"), MC_STR("tides/notes.txt"), 0, 99, &bytes) || bytes.len != entry.size) __builtin_trap();
    if (!mc_files_list(MC_STR("skills"), MC_STR("tides"), &entries) || entries.len != 2) __builtin_trap();
    mc_log("info", line("files ", bytes));
    if (!mc_files_read(MC_STR("skills"), MC_STR("nothing"), 0, 99, &bytes)) mc_log("info", line("problem ", mc_last_problem.code));
    mc_hits hits = mc_catalog_search(catalog, mc_turn_user_text(turn), 5);
    mc_str *names = mc_alloc(hits.len * sizeof(mc_str));
    for (size_t i = 0; i < hits.len; i++) names[i] = hits.ptr[i].name;
    return mc_chosen(names, hits.len, "");
}

MC_RENDER(turn, catalog, skills) {
    (void)turn;
    mc_str text = {0, 0}, body;
    for (size_t i = 0; i < skills.len; i++) {
        if (mc_catalog_read(catalog, skills.ptr[i], &body)) text = mc_join(text, mc_join(MC_STR("laid out: "), body));
    }
    return mc_rendered(text);
}

MC_GATE(turn, call) {
    (void)turn;
    if (mc_same(call.name, MC_STR("remove"))) return mc_deny(line("denied ", call.arguments));
    if (mc_same(call.name, MC_STR("send"))) return mc_hold(MC_STR("held"));
    return mc_allow();
}

MC_FILTER(sample) {
    mc_log("info", line("sample ", mc_sample_model(sample)));
    mc_log("info", line("finish ", mc_sample_finish_reason(sample)));
    mc_str answer = mc_sample_answer_text(sample);
    if (answer.len >= 4 && mc_same((mc_str){answer.ptr + answer.len - 4, 4}, MC_STR("drop"))) {
        return mc_drop(line("dropped ", mc_sample_user_text(sample)));
    }
    return mc_keep(0.5f);
}

MC_REWARD(sample) { return mc_sample_tool_calls(sample).len > 0 ? mc_reward(1) : mc_reward(-0.5f); }
