// Long requests go to the last of the agent's targets, all others to the first.
#include "metaclaw/policy.h"

MC_POLICY("my-policy", "0.1.0", "Sends long requests to the last of the agent's targets.", "")

// The agent's `config:` is `long`: from how many bytes on a request is long.
MC_CHECK(config) {
    mc_str name;
    mc_json value;
    while (mc_next(&config, &name, &value)) {
        if (!mc_same(name, MC_STR("long"))) mc_wrong_of(mc_join(name, MC_STR(" is no setting; there is `long`")));
        else if (!mc_is_number(value) || mc_int(value) < 1) mc_wrong("`long` must be a number, at least 1");
    }
}

MC_ROUTE(turn) {
    mc_json value;
    uint64_t from = mc_get(mc_config(), "long", &value) ? (uint64_t)mc_int(value) : 8000;
    mc_targets targets = mc_turn_targets(turn);
    if (mc_turn_body_size(turn) < from) return mc_to(targets.ptr[0], "short");
    return mc_to(targets.ptr[targets.len - 1], "long");
}
