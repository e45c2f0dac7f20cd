// @ts-check
// A project says itself which skills its work needs: in `project.json`, in the agent's own skills folder. Without that file, and for
// turns of which it says nothing, the host's search chooses.
//
//     { "always": ["house-style"],
//       "when": [{ "words": ["release", "changelog"], "skills": ["write-release-notes"] },
//                { "tools": ["run_tests"], "skills": ["judge-tests"] }] }
import { define, Problem } from "./metaclaw/index.js";
import { files } from "./metaclaw/files.js";

/** @typedef {{ words?: string[], tools?: string[], skills: string[] }} Rule */
/** @typedef {{ always?: string[], when?: Rule[] }} Project */

export const { lifecycle, skillSelection } = define({
  name: "project-skills",
  version: "1.0.0",
  summary: "Chooses the skills that the project's own file names, and else those that a search finds.",
  grants: "skills:read",
  config: {
    /** The project's file, in `skills/AGENT`. */
    file: "project.json",
    /** How many skills a search gives, at most. */
    search: 3,
  },
  check: ({ search }) => (Number.isInteger(search) && search >= 0 && search <= 64 ? [] : ["`search` must be a number from 0 to 64"]),

  select(turn, catalog, config) {
    const project = read(config.file);
    const text = turn.userText().toLowerCase();
    const tools = new Set(turn.toolNames());
    /** @param {Rule} rule */
    const holds = (rule) => rule.words?.some((word) => text.includes(word.toLowerCase())) || rule.tools?.some((tool) => tools.has(tool));

    const ruled = (project.when ?? []).filter(holds).flatMap((rule) => rule.skills);
    const wanted = new Set([...(project.always ?? []), ...ruled]);
    if (ruled.length === 0) for (const hit of catalog.search(text, config.search)) wanted.add(hit.name);
    // A name that is no skill's any more is left out rather than failing the turn.
    const skills = [...wanted].filter((name) => catalog.read(name) != null).slice(0, 64);
    return { skills, reason: ruled.length > 0 ? config.file : "search" };
  },
});

/** @param {string} file @returns {Project} */
function read(file) {
  try {
    return JSON.parse(files.read("skills", file));
  } catch (error) {
    if (error instanceof Problem && error.code === "not-found") return {};
    if (error instanceof SyntaxError) throw new Problem("bad-project", `${file}: ${error.message}`);
    throw error;
  }
}
