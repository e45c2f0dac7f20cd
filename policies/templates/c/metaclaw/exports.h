// Joins the hooks that a policy writes to the contract. An author need not read on.
#ifndef METACLAW_EXPORTS_H
#define METACLAW_EXPORTS_H

// After an answer has been read by the host, the heap is empty again.
#define MC_EXPORT_(interface, name) __attribute__((export_name("metaclaw:policy/" interface "@1.0.0#" name)))
#define MC_AFTER_(interface, name, function) \
    __attribute__((export_name("cabi_post_metaclaw:policy/" interface "@1.0.0#" name))) void mc_after_##function(void *answer) { \
        (void)answer; \
        mc_top_ = 0; \
    }
#define MC_HOOK_(interface, name, function, kind, parameters, arguments, prepare, finish) \
    static kind mc_##function##_ parameters; \
    MC_EXPORT_(interface, name) kind *mc_export_##function MC_FLAT_##function { \
        kind *answer = mc_alloc(sizeof(kind)); \
        prepare; \
        *answer = mc_##function##_ arguments; \
        finish; \
        return answer; \
    } \
    MC_AFTER_(interface, name, function) \
    static kind mc_##function##_ parameters

#define MC_FLAT_route (int32_t turn)
#define MC_FLAT_select (int32_t turn, int32_t catalog)
#define MC_FLAT_render (int32_t turn, int32_t catalog, mc_str *skills, size_t count)
#define MC_FLAT_gate (int32_t turn, char *id, size_t id_len, char *name, size_t name_len, char *arguments, size_t arguments_len)
#define MC_FLAT_filter (int32_t sample)
#define MC_FLAT_reward (int32_t sample)

#define MC_ROUTE(turn_) \
    MC_HOOK_("routing", "route", route, mc_decision, (mc_turn turn_), ((mc_turn){turn}), , mc_turn_give_back_(turn))
#define MC_SELECT(turn_, catalog_) \
    MC_HOOK_("skill-selection", "select", select, mc_selection, (mc_turn turn_, mc_catalog catalog_), ((mc_turn){turn}, (mc_catalog){catalog}), \
             , (mc_turn_give_back_(turn), mc_catalog_give_back_(catalog)))
#define MC_RENDER(turn_, catalog_, skills_) \
    MC_HOOK_("skill-rendering", "render", render, mc_rendering, (mc_turn turn_, mc_catalog catalog_, mc_strs skills_), \
             ((mc_turn){turn}, (mc_catalog){catalog}, (mc_strs){skills, count}), , (mc_turn_give_back_(turn), mc_catalog_give_back_(catalog)))
#define MC_GATE(turn_, call_) \
    MC_HOOK_("tool-gate", "gate", gate, mc_permission, (mc_turn turn_, mc_call call_), ((mc_turn){turn}, call), \
             mc_call call = ((mc_call){{id, id_len}, {name, name_len}, {arguments, arguments_len}}), mc_turn_give_back_(turn))
#define MC_FILTER(sample_) \
    MC_HOOK_("sample-filter", "filter", filter, mc_verdict, (mc_sample sample_), ((mc_sample){sample}), , mc_sample_give_back_(sample))
#define MC_REWARD(sample_) \
    MC_HOOK_("reward", "reward", reward, mc_rewarded, (mc_sample sample_), ((mc_sample){sample}), , mc_sample_give_back_(sample))

typedef struct { mc_str name, version, summary; mc_attrs_ attrs; } mc_description_;

#define MC_POLICY(name_, version_, summary_, grants_) \
    MC_EXPORT_("lifecycle", "describe") mc_description_ *mc_export_describe(void) { \
        mc_description_ *answer = mc_alloc(sizeof(mc_description_)); \
        *answer = (mc_description_){MC_STR(name_), MC_STR(version_), MC_STR(summary_), mc_attrs_of_("grants", MC_STR(grants_))}; \
        return answer; \
    } \
    MC_AFTER_("lifecycle", "describe", describe)

typedef struct { mc_problem problems[16]; size_t len; } mc_problems_;
static mc_problems_ mc_found_;

// One reason not to load the module; after sixteen the rest is left out.
static inline void mc_wrong_of(mc_str message) {
    if (mc_found_.len < 16) mc_found_.problems[mc_found_.len++] = (mc_problem){MC_STR("bad-config"), message};
}
static inline void mc_wrong(const char *message) { mc_wrong_of(mc_text(message)); }

typedef struct { mc_problem *ptr; size_t len; } mc_problem_list_;

#define MC_CHECK(config_) \
    static void mc_check_(mc_json config_); \
    MC_EXPORT_("lifecycle", "validate-config") mc_problem_list_ *mc_export_check(char *json, size_t len) { \
        mc_problem_list_ *answer = mc_alloc(sizeof(mc_problem_list_)); \
        mc_found_.len = 0; \
        mc_check_(mc_json_of((mc_str){json, len})); \
        *answer = (mc_problem_list_){mc_found_.problems, mc_found_.len}; \
        return answer; \
    } \
    MC_AFTER_("lifecycle", "validate-config", check) \
    static void mc_check_(mc_json config_)
#endif
