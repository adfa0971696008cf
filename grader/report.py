"""What people read of a result: the card in a notebook, the comment, the CSV, the class page, the terminal's table.

Everything here takes the judge's result dicts. Text that a student can influence (messages, notes, names, paths)
only ever goes through jinja2's autoescape, the csv module or `plain`.
"""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

from jinja2 import Environment

from .rubric import load_rubric

MARKS = {True: "✓ passed", False: "✗ failed", None: "? not judged"}
# Shown in place of HTML's and markdown's active characters where a text cannot be escaped: nbgrader shows one
# and the same comment as plain text (formgrader's text box) and as markdown with raw HTML (feedback).
LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "`": "ʼ", "$": "＄", "&": "＆", "\\": "＼"})
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x1b\ufffe\uffff\ud800-\udfff]")


# ---- for the student: the card in the check cell, the comment below the solution ----


def card_html(task: str, outcome: dict) -> str:
    """Return one task's result as a self-contained piece of HTML; hidden checks show rule and hint only."""
    return CARD.render(task=task, title=_title(task), outcome=outcome, tone=_tone(outcome), headline=_headline(outcome))


def comment_text(task: str, outcome: dict) -> str:
    """Return one task's result as text that is harmless and readable both as markdown and as plain text."""
    lines = [f"Task {task}: {_headline(outcome)}."]
    if outcome.get("carried_forward"):
        lines.append("Judged with the reference's blocks standing in for your earlier ones: that mark was better.")
    for check in outcome["checks"]:
        if check["passed"]:
            continue
        lost = f" (−{check['points']:g})" if check["passed"] is False else ""
        line = f"- {MARKS[check['passed']]}{lost}: {plain(check['rule'])}"
        if said(check) and not check["hidden"]:
            line += f" `{plain(said(check).replace(chr(10), '; '))}`"
        if check["hint"]:
            line += f" Hint: {plain(check['hint'])}"
        lines.append(line)
    return "\n".join(lines[:1] + [""] + lines[1:]).strip()


def said(check: dict) -> str:
    """Return a check's message without the rule and the hint, which stand beside it."""
    beside = {f"rule: {check['rule']}", f"hint: {check['hint']}"}
    return "\n".join(line for line in str(check["message"]).splitlines() if line not in beside)


def plain(text: str, limit: int = 600) -> str:
    """Return a text on one line, without control characters, markup replaced by look-alikes, at most `limit` long."""
    line = " ".join(CONTROL.sub("", str(text)).translate(LOOKALIKES).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _title(task: str) -> str:
    entry = load_rubric().get(task)
    return entry.title if entry else ""


def _headline(outcome: dict) -> str:
    checks = outcome["checks"]
    if outcome["score"] is None:
        return f"not graded yet, an instructor will look at it (of {outcome['max_score']:g} points)"
    passed = sum(check["passed"] is True for check in checks)
    counted = f", {passed} of {len(checks)} checks passed" if checks else ""
    return f"{number(outcome['score'])} of {outcome['max_score']:g} points{counted}"


def _tone(outcome: dict) -> str:
    if outcome["score"] is None:
        return "#767676"
    return "#0072B2" if outcome["score"] >= outcome["max_score"] else "#D55E00"


def number(value: float | None) -> str:
    """Return a mark with at most two decimals; "?" where there is none."""
    return "?" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


# ---- for the instructor: CSV, class page, terminal ----


def write_csv(report: dict, path: Path) -> Path:
    """Write one row a student; an ungraded mark is an empty field beside its status, never 0."""
    tasks = _tasks(report)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        marks = [f"{task} {part}" for task in tasks for part in ("score", "status")]
        writer.writerow(["student", "status", "score", "max_score", *marks, "carried_forward", "notes", "path"])
        for result in sorted(report["submissions"], key=lambda r: r["student"]):
            writer.writerow([_cell(value) for value in _row(result, tasks)])
    return Path(path)


def _row(result: dict, tasks: list[str]) -> list:
    marks = []
    for task in tasks:
        outcome = result["tasks"].get(task, {"score": None, "status": "ungraded"})
        marks += [number(outcome["score"]).replace("?", ""), outcome["status"]]
    carried = " ".join(task for task in tasks if result["tasks"].get(task, {}).get("carried_forward"))
    score = number(result["score"]).replace("?", "")
    return [result["student"], result["status"], score, result["max_score"], *marks, carried, " | ".join(result["notes"]), result["path"]]


def _cell(value: object) -> str:
    text = CONTROL.sub("", str(value)).replace("\n", " ")
    # A spreadsheet would run =HYPERLINK(...) out of a student's file name.
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text


def write_class_page(report: dict, path: Path, title: str = "Lab 4") -> Path:
    """Write the class as one HTML file without scripts or links to elsewhere."""
    results = sorted(report["submissions"], key=lambda r: r["student"])
    page = CLASS_PAGE.render(
        title=title,
        isolation=report["isolation"],
        tasks=[(task, _title(task)) for task in _tasks(report)],
        results=results,
        attention=[r for r in results if r["status"] != "graded" or r["notes"]],
        rates=pass_rates(report),
        facts=_facts(results),
    )
    Path(path).write_text(page, encoding="utf-8", errors="replace")
    return Path(path)


def pass_rates(report: dict) -> list[dict]:
    """Return task, check, whether hidden, passed, and judged for every check, in the rubric's order."""
    rows = {}
    for result in report["submissions"]:
        for task, outcome in result["tasks"].items():
            for check in outcome["checks"]:
                row = {"task": task, "name": check["name"], "rule": check["rule"], "hidden": check["hidden"], "passed": 0, "judged": 0}
                row = rows.setdefault((task, check["name"]), row)
                row["passed"] += check["passed"] is True
                row["judged"] += check["passed"] is not None
    order = {(id, name): place for place, (id, name) in enumerate((id, n) for id, t in load_rubric().items() for n in t.checks)}
    return [rows[key] for key in sorted(rows, key=lambda key: (key[0], order.get(key, len(order))))]


def _facts(results: list[dict]) -> dict:
    shares = [100 * r["score"] / r["max_score"] for r in results if r["score"] is not None and r["status"] == "graded" and r["max_score"]]
    return {
        "students": len(results),
        "graded": len(shares),
        "median": f"{statistics.median(shares):.0f} %" if shares else "–",
        "full": sum(share >= 99.999 for share in shares),
    }


def summary_table(report: dict) -> str:
    """Return the class as a table for the terminal, with the notes below it."""
    tasks = _tasks(report)
    rows = [["student", "status", *tasks, "score", "of"]]
    for result in sorted(report["submissions"], key=lambda r: r["student"]):
        rows.append([plain(result["student"], 32), result["status"], *(_mark(result, task) for task in tasks), number(result["score"]), f"{result['max_score']:g}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip() for row in rows]
    lines.insert(1, "  ".join("─" * width for width in widths))
    notes = [f"{plain(r['student'], 32)}: {plain(note, 300)}" for r in sorted(report["submissions"], key=lambda r: r["student"]) for note in r["notes"]]
    key = ["↷ marked with the reference's blocks standing in for earlier ones; ? ungraded, which is not 0"]
    return "\n".join(lines + key * any("↷" in line or "?" in line for line in lines) + [""] * bool(notes) + notes + ["", f"isolation: {plain(report['isolation'])}"])


def _mark(result: dict, task: str) -> str:
    outcome = result["tasks"].get(task)
    if outcome is None:
        return "–"
    return ("↷ " if outcome.get("carried_forward") else "") + number(outcome["score"])


def _tasks(report: dict) -> list[str]:
    found = {task for result in report["submissions"] for task in result["tasks"]}
    known = [task for task in load_rubric() if task in found]
    return known + sorted(found - set(known))


# ---- the templates ----

_environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_environment.filters["mark"] = number
_environment.filters["clean"] = lambda text: CONTROL.sub("", str(text))
_environment.filters["said"] = said
_environment.globals["marks"] = MARKS

# Styles stand on the elements: formgrader, feedback and JupyterLab each bring their own sheets and no room for ours.
CARD = _environment.from_string("""\
<div style="font-family:system-ui,sans-serif;font-size:14px;line-height:1.45;color:#1a1a1a;background:#fff;\
border:1px solid #d0d0d0;border-left:6px solid {{ tone }};border-radius:4px;padding:10px 14px;max-width:860px">
<div style="font-size:16px;font-weight:600">Task {{ task }}{% if title %} · {{ title }}{% endif %}</div>
<div style="color:{{ tone }};font-weight:600;margin-bottom:6px">{{ headline }}</div>
{% if outcome.carried_forward %}
<div style="margin-bottom:6px">Judged with the reference's blocks standing in for your earlier ones: that mark was better.</div>
{% endif %}
{% for check in outcome.checks %}
<div style="border-top:1px solid #e4e4e4;padding:5px 0;display:flex;gap:12px">
<div style="flex:0 0 96px;font-weight:600;color:{{ '#0072B2' if check.passed else '#B34700' if check.passed == false else '#595959' }}">\
{{ marks[check.passed] }}</div>
<div style="flex:1;min-width:0">
<div>{{ check.rule|clean }}{% if check.hidden %} <span style="color:#595959">(hidden check)</span>{% endif %}</div>
{% if not check.passed %}
{% if check|said and not check.hidden %}
<pre style="margin:4px 0;padding:6px 8px;background:#f5f5f5;border:0;font-size:12.5px;white-space:pre-wrap;overflow-wrap:anywhere">\
{{ check|said|clean }}</pre>
{% endif %}
{% if check.hint %}<div style="color:#404040"><b>Hint:</b> {{ check.hint|clean }}</div>{% endif %}
{% endif %}
</div>
<div style="flex:0 0 44px;text-align:right;color:#595959">{{ (check.points|mark) if check.passed else '0' if check.passed == false else '?' }}\
/{{ check.points|mark }}</div>
</div>
{% endfor %}
</div>
""")

CLASS_PAGE = _environment.from_string("""\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ title }}: the class</title>
<style>
:root { --ink:#1a1a1a; --soft:#5a5a5a; --line:#dcdcdc; --blue:#0072B2; --orange:#B34700; }
* { box-sizing:border-box }
body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:#fff; max-width:1180px; margin:0 auto; padding:28px 24px 80px }
h1 { font-size:26px; margin:0 0 2px } h2 { font-size:19px; margin:38px 0 10px }
h3 { font-size:15px; margin:18px 0 6px }
.soft { color:var(--soft) } .num { text-align:right; font-variant-numeric:tabular-nums }
.facts { display:flex; flex-wrap:wrap; gap:12px; margin:18px 0 0 }
.fact { border:1px solid var(--line); border-radius:6px; padding:8px 16px; min-width:120px } .fact b { display:block; font-size:22px }
table { border-collapse:collapse; width:100% } th,td { padding:6px 10px; border-bottom:1px solid var(--line); text-align:left }
th { font-weight:600; vertical-align:bottom; border-bottom:2px solid #9a9a9a } th small { display:block; font-weight:400; color:var(--soft) }
td.mark { min-width:92px } td.student { overflow-wrap:anywhere; max-width:260px }
.bar { display:block; height:6px; background:#e6e6e6; border-radius:3px; margin-top:3px; overflow:hidden }
.bar i { display:block; height:100%; background:var(--blue) }
.ungraded { background:repeating-linear-gradient(45deg,#f1f1f1 0 6px,#fff 6px 12px) }
.tag { display:inline-block; border:1px solid currentColor; border-radius:10px; padding:0 8px; font-size:12px; white-space:nowrap }
.attention { border-left:5px solid var(--orange); background:#fdf6f0; padding:8px 14px; margin:8px 0; border-radius:3px; overflow-wrap:anywhere }
.attention ul { margin:2px 0; padding-left:20px }
.rate { display:grid; grid-template-columns:minmax(0,1fr) 260px 74px; gap:14px; align-items:center; padding:3px 0 }
.rate .bar { height:12px; margin:0 } details { border-bottom:1px solid var(--line); padding:7px 0 } summary { cursor:pointer }
details > div { margin:6px 0 12px 18px } pre { white-space:pre-wrap; overflow-wrap:anywhere; background:#f5f5f5; padding:6px 9px; margin:3px 0; font-size:12.5px }
.failed { margin:8px 0 10px }
</style></head><body>
<h1>{{ title }}: the class</h1>
<div class="soft">Isolation while grading: {{ isolation|clean }}</div>
<div class="facts">
<div class="fact"><b>{{ facts.students }}</b>hand-in{{ '' if facts.students == 1 else 's' }}</div>
<div class="fact"><b>{{ facts.graded }}</b>fully graded</div>
<div class="fact"><b>{{ facts.full }}</b>with full marks</div>
<div class="fact"><b>{{ facts.median }}</b>median</div>
</div>
{% if attention %}
<h2>Look at these first</h2>
{% for result in attention|sort(attribute='status', reverse=true) %}
<div class="attention"><b>{{ result.student|clean }}</b>{% if result.status != 'graded' %} <span class="tag">{{ result.status }}</span>{% endif %}
{% if result.notes %}<ul>{% for note in result.notes %}<li>{{ note|clean }}</li>{% endfor %}</ul>{% endif %}
</div>
{% endfor %}
{% endif %}
<h2>Marks</h2>
<table><thead><tr><th>Student</th>{% for task, name in tasks %}<th>{{ task }}<small>{{ name }}</small></th>{% endfor %}<th>Total</th></tr></thead><tbody>
{% for result in results %}
<tr><td class="student">{{ result.student|clean }}{% if result.status != 'graded' %} <span class="tag">{{ result.status }}</span>{% endif %}</td>
{% for task, name in tasks %}
{% set outcome = result.tasks.get(task) %}
{% if outcome is none %}
<td class="mark soft">–</td>
{% elif outcome.score is none %}
<td class="mark ungraded">ungraded</td>
{% else %}
<td class="mark">{% if outcome.carried_forward %}<span title="the reference's blocks stood in for earlier ones">↷</span> {% endif %}\
{{ outcome.score|mark }} <span class="soft">/ {{ outcome.max_score|mark }}</span>\
<span class="bar"><i style="width:{{ (100 * outcome.score / outcome.max_score)|round(1) if outcome.max_score else 0 }}%"></i></span></td>
{% endif %}
{% endfor %}
{% if result.score is none %}
<td class="mark ungraded">ungraded</td>
{% else %}
<td class="mark"><b>{{ result.score|mark }}</b> <span class="soft">/ {{ result.max_score|mark }}</span>\
{% if result.status == 'graded' %}<span class="bar"><i style="width:{{ (100 * result.score / result.max_score)|round(1) if result.max_score else 0 }}%"></i></span>\
{% else %}<br><span class="soft">so far</span>{% endif %}</td>
{% endif %}
</tr>
{% endfor %}
</tbody></table>
<p class="soft">↷ the reference's blocks stood in for the student's earlier ones, and that mark was better. Ungraded is not 0: somebody has to look.</p>
<h2>How often each check passes</h2>
{% for task, name in tasks %}
<h3>{{ task }} · {{ name }}</h3>
{% for rate in rates if rate.task == task %}
<div class="rate"><div title="{{ rate.name }}">{{ rate.rule|clean or rate.name }}{% if rate.hidden %} <span class="soft">(hidden)</span>{% endif %}</div>
<span class="bar"><i style="width:{{ (100 * rate.passed / rate.judged)|round(1) if rate.judged else 0 }}%"></i></span>
<div class="num">{{ rate.passed }} of {{ rate.judged }}</div></div>
{% endfor %}
{% endfor %}
<h2>What failed, student by student</h2>
{% for result in results %}
{% set ns = namespace(count=0) %}
{% for outcome in result.tasks.values() %}{% for check in outcome.checks if check.passed == false %}{% set ns.count = ns.count + 1 %}{% endfor %}{% endfor %}
<details><summary><b>{{ result.student|clean }}</b> <span class="soft">{{ result.score|mark }} / {{ result.max_score|mark }}, \
{{ ns.count }} failed check{{ '' if ns.count == 1 else 's' }}, {{ result.path|clean }}</span></summary><div>
{% for task, outcome in result.tasks.items() %}
{% for check in outcome.checks if check.passed == false %}
<div class="failed"><span class="tag">{{ task }}</span> <b>{{ check.name }}</b>{% if check.hidden %} <span class="soft">(hidden)</span>{% endif %} \
<span class="soft">−{{ check.points|mark }}</span><br>{{ check.rule|clean }}{% if check|said %}<pre>{{ check|said|clean }}</pre>{% endif %}\
{% if check.hint %}<span class="soft">Hint: {{ check.hint|clean }}</span>{% endif %}</div>
{% endfor %}
{% endfor %}
{% if not ns.count %}<span class="soft">{{ 'Nothing.' if result.status == 'graded' else 'Nothing was judged; see the notes above.' }}</span>{% endif %}
</div></details>
{% endfor %}
</body></html>
""")
