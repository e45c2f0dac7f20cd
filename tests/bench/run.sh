#!/usr/bin/env bash
# Measures the host against nginx and a Rust router in one run, with ../shared/bench's harness: see README.md.
#   tests/bench/run.sh [PEERS] [more words for run.py]
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD bench=$PWD/target/bench home=$PWD/target/bench-home
peers=${1:-nginx,vllm-router}
shift || true
[ -d "$bench" ] || { cp -r ../shared/bench "$bench" && chmod -R u+w "$bench"; }
[ -x "$bench/target/release/loadgen" ] || (cd "$bench" && ./setup.sh ${peers//,/ })
rm -rf "$home" && mkdir -p -m 700 "$home"
# 40 skills, of which some fit the harness's prompts, so that every turn pays for injection too. Its upstream is always on
# this port.
for i in $(seq -w 1 40); do
  case $i in
    0[1-6]) about="Use when asked to debug a failing python function, explain the bug and fix the code, case $i" ;;
    *) about="Use when a customer's invoice number $i must be translated, archived or refunded" ;;
  esac
  mkdir -p "$home/skills/skill-$i"
  { printf -- '---\nname: skill-%s\ndescription: "%s"\n---\n\n' "$i" "$about"; printf 'Do this first, then check it. %.0s' $(seq 33); } > "$home/skills/skill-$i/SKILL.md"
done
cat > "$home/config.yaml" <<YAML
llm: { provider: custom, api_base: "http://127.0.0.1:28080/v1", model_id: bench-model }
YAML
chmod 600 "$home/config.yaml"
cd "$bench"
./run.py --peers "$peers" --target "metaclaw=$root/target/release/metaclaw --home $home start --port 29500,29500,health=/healthz" "$@"
