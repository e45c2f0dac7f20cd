// Reads JSON that is known to be well-formed, as the host's settings are, without building anything:
//
//     mc_json config = mc_config(), value; mc_str name;
//     if (mc_get(config, "long", &value) && mc_is_number(value)) … mc_int(value) …
//     for (mc_json each = config; mc_next(&each, &name, &value);) …      a mapping's pairs, or a list's values with an empty name
#ifndef METACLAW_JSON_H
#define METACLAW_JSON_H

typedef struct { const char *at, *end; } mc_json;

MC_HOST_("settings", "get") void mc_settings_(mc_str *);

static inline mc_json mc_json_of(mc_str text) {
    while (text.len > 0 && (unsigned char)text.ptr[text.len - 1] <= ' ') text.len--;
    return (mc_json){text.ptr, text.ptr + text.len};
}

// The agent's `config:`. `MC_CHECK` has accepted it.
static inline mc_json mc_config(void) {
    mc_str text;
    mc_settings_(&text);
    return mc_json_of(text);
}

static inline void mc_blanks_(mc_json *json) {
    while (json->at < json->end && ((unsigned char)*json->at <= ' ' || *json->at == ',' || *json->at == ':')) json->at++;
}

static inline char mc_first_(mc_json json) {
    mc_blanks_(&json);
    return json.at < json.end ? *json.at : 0;
}
static inline bool mc_is_mapping(mc_json json) { return mc_first_(json) == '{'; }
static inline bool mc_is_list(mc_json json) { return mc_first_(json) == '['; }
static inline bool mc_is_text(mc_json json) { return mc_first_(json) == '"'; }
static inline bool mc_is_number(mc_json json) { char c = mc_first_(json); return c == '-' || (c >= '0' && c <= '9'); }
static inline bool mc_is_true(mc_json json) { return mc_first_(json) == 't'; }

// Goes past one value, and gives it.
static inline mc_json mc_value_(mc_json *json) {
    mc_blanks_(json);
    mc_json value = {json->at, json->end};
    int depth = 0;
    do {
        char c = *json->at++;
        if (c == '"') {
            for (; *json->at != '"'; json->at++) if (*json->at == '\\') json->at++;
            json->at++;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (depth == 0) {
            while (json->at < json->end && *json->at != ',' && *json->at != '}' && *json->at != ']' && *json->at > ' ') json->at++;
        }
    } while (depth > 0 && json->at < json->end);
    value.end = json->at;
    return value;
}

// A text's words, without quotes and escapes.
static inline mc_str mc_words(mc_json json) {
    mc_blanks_(&json);
    if (json.at == json.end || *json.at != '"') return (mc_str){0, 0};
    char *text = mc_alloc((size_t)(json.end - json.at)), *to = text;
    for (const char *c = json.at + 1; *c != '"'; c++) {
        if (*c != '\\') { *to++ = *c; continue; }
        uint32_t code = 0;
        switch (*++c) {
        case 'n': *to++ = '\n'; break;
        case 't': *to++ = '\t'; break;
        case 'r': *to++ = '\r'; break;
        case 'b': *to++ = '\b'; break;
        case 'f': *to++ = '\f'; break;
        case 'u': // The host writes only control characters so.
            for (int i = 0; i < 4; i++) { c++; code = code * 16 + (uint32_t)(*c <= '9' ? *c - '0' : (*c | 32) - 'a' + 10); }
            *to++ = code < 128 ? (char)code : '?';
            break;
        default: *to++ = *c;
        }
    }
    return (mc_str){text, (size_t)(to - text)};
}

// A number without what is behind its point.
static inline int64_t mc_int(mc_json json) {
    mc_blanks_(&json);
    bool minus = json.at < json.end && *json.at == '-';
    int64_t value = 0;
    for (json.at += minus; json.at < json.end && *json.at >= '0' && *json.at <= '9'; json.at++) value = value * 10 + (*json.at - '0');
    return minus ? -value : value;
}

// The next pair of a mapping, or the next value of a list, which has no name.
static inline bool mc_next(mc_json *each, mc_str *name, mc_json *value) {
    mc_blanks_(each);
    bool begins = each->at < each->end && (*each->at == '{' || *each->at == '[');
    // While one goes on, what is left of a mapping is told from that of a list by its closing bracket.
    if (begins && each->end[-1] == (*each->at == '{' ? '}' : ']')) {
        mc_json whole = *each;
        if (mc_value_(&whole).end == each->end) each->at++;
    }
    mc_blanks_(each);
    if (each->at >= each->end || *each->at == '}' || *each->at == ']') return false;
    *name = (mc_str){0, 0};
    if (each->end[-1] == '}') *name = mc_words(mc_value_(each));
    *value = mc_value_(each);
    return true;
}

static inline bool mc_get(mc_json mapping, const char *wanted, mc_json *value) {
    mc_str name;
    while (mc_next(&mapping, &name, value)) if (mc_same(name, mc_text(wanted))) return true;
    return false;
}
#endif
