#!/usr/bin/env bash
# Open one issue about a scheduled run that failed; while it is open, later failures become comments.
# Usage: .github/report.sh TITLE LOG      (gh, and GH_TOKEN with the right to write issues)
set -euo pipefail

title=$1
log=$2
body=$(mktemp)
trap 'rm -f "$body"' EXIT

{
    echo "The scheduled run failed: ${GITHUB_SERVER_URL:-}/${GITHUB_REPOSITORY:-}/actions/runs/${GITHUB_RUN_ID:-}"
    echo
    echo "The last lines of its log:"
    echo
    # Indented, so that nothing in the log is read as Markdown; an issue holds 65,536 characters.
    tail -n 80 "$log" | cut -c 1-400 | sed 's/^/    /'
} >"$body"

number=$(TITLE=$title gh issue list --state open --limit 500 --json number,title \
    --jq '[.[] | select(.title == env.TITLE) | .number] | min // empty')
if [ -n "$number" ]; then
    gh issue comment "$number" --body-file "$body"
else
    gh issue create --title "$title" --body-file "$body"
fi
