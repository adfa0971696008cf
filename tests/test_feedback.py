"""The feedback page: marks at the top, corrections by hand, and nothing that runs or loads, whatever was handed in."""

import copy
import json
import os
import re
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("nbgrader")

from bs4 import BeautifulSoup
from nbconvert.exporters import HTMLExporter
from nbconvert.exporters.exporter import ResourcesDict
from nbgrader.api import Gradebook

from grader import course as courses
from grader import demo
from grader.cards import card_html, comment_text
from grader.defuse import DefuseHtml, strip
from grader.feedback import FeedbackExporter, mathml
from grader.rubric import load_manual, load_rubric, notebooks
from tests.attacks import CALL, MARKDOWN, MARKUP, OUTPUTS, findings
from tests.madeup import cell_of, made_up

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
ONE, TWO, THREE, BONUS = sorted(notebooks())
EXAMPLES = 300 if os.environ.get("UNETLAB_LONG") else 15


# ---- a class, judged by a made-up judge, through real nbgrader ----


def attack(nb):
    """Every attack, in every place where a student's text is shown."""
    task = cell_of(nb, "task_1_1")
    task.source += "\n" + "\n".join(f"# {text!r}" for text in MARKUP)
    task.outputs = [nbformat.v4.new_output("display_data", data=data) for data in OUTPUTS]
    task.outputs += [nbformat.v4.new_output("stream", text="\n".join(MARKUP))]
    task.outputs += [nbformat.v4.new_output("error", ename=MARKUP[0], evalue=MARKUP[1], traceback=MARKUP)]
    nb.cells += [nbformat.v4.new_markdown_cell(text) for text in MARKUP + MARKDOWN]
    nb.cells += [nbformat.v4.new_raw_cell(MARKUP[0], metadata={"raw_mimetype": "text/html"})]
    nb.metadata["title"] = nb.metadata["widgets"] = MARKUP[0]
    nb.metadata["language_info"] = {"name": MARKUP[0], "pygments_lexer": MARKUP[0]}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("feedback")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    changes = {"ada": {}, "eve": {ONE: attack}}
    for student in changes:
        (handins / student).mkdir(parents=True)
        for name in sorted(notebooks()):
            nb = nbformat.read(course / "release" / "lab04" / f"{name}.ipynb", as_version=4)
            demo.fill(nb, {})
            changes[student].get(name, lambda nb: None)(nb)
            (handins / student / f"{name}.ipynb").write_text(json.dumps(nb))
    (handins / "eve" / f"<img src=x onerror={CALL.replace('/', '_')[:60]}>.pdf").write_bytes(b"%PDF")
    slips = {"eve": {"1.1": MARKUP[1], "2.1": MARKUP[0]}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", made_up(slips, notes={"eve": MARKUP + MARKDOWN}))
        courses.grade_class(handins, course)
    return SimpleNamespace(course=course, handins=handins, slips=slips)


def page(graded, student, notebook=ONE):
    return (graded.course / "feedback" / student / "lab04" / f"{notebook}.html").read_text()


def marks(graded, student, notebook=ONE):
    """The table at the top: title → cells."""
    rows = BeautifulSoup(page(graded, student, notebook), "html5lib").select(".marks tr")
    return {row.find(["td", "th"]).get_text(): [cell.get_text() for cell in row.find_all("td")[-3:]] for row in rows}


def test_nothing_on_the_pages_runs_or_loads(graded):
    for name in notebooks():
        for student in ("ada", "eve"):
            assert findings(page(graded, student, name)) == []
    shown = BeautifulSoup(page(graded, "eve"), "html5lib").get_text()
    assert shown.count("gotcha") > 20  # it was not thrown away: it is text


def test_the_comment_boxes_hold_no_markup(graded):
    with Gradebook(f"sqlite:///{graded.course / 'gradebook.db'}") as book:
        comments = [c.auto_comment or "" for c in book.find_submission_notebook(ONE, "lab04", "eve").comments]
    assert any("gotcha" in text for text in comments) and not any(set("<>$&") & set(text) for text in comments)


def test_the_policy_of_the_page_forbids_scripts_and_loads(graded):
    head = BeautifulSoup(page(graded, "ada"), "html5lib").head
    policy = head.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]
    assert "default-src 'none'" in policy and "script" not in policy and "img-src data:" in policy
    before = head.encode_contents().decode().split("Content-Security-Policy")[0]
    assert "<style" not in before and "<title" not in before  # it stands first


def test_marks_stand_at_the_top_by_task_and_part(graded):
    shown = marks(graded, "eve")
    assert shown[ONE][0] == "80 / 100" and shown["1.1 Encoder block"][0] == "0 / 20" and shown["1.2 Decoder block"][0] == "25 / 25"
    assert marks(graded, "ada")[f"{load_manual()['report'].title} (by hand)"] == ["0 / 15", "", "No answer."]
    links = {a.get_text(): a["href"] for a in BeautifulSoup(page(graded, "eve"), "html5lib").select(".marks a")}
    assert links["1.1 Encoder block"] == "#check_1_1" and links["2.1 Skip by concatenation"] == f"{TWO}.html#check_2_1"
    tree = BeautifulSoup(page(graded, "eve"), "html5lib")
    for name in ("check_1_1", "check_1_4"):
        assert tree.find(id=name)


def test_a_correction_and_a_comment_by_hand_are_shown_as_such(graded):
    with Gradebook(f"sqlite:///{graded.course / 'gradebook.db'}") as book:
        grade = book.find_grade("check_1_1", ONE, "lab04", "eve")
        grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 12.5, 2, False
        book.find_comment("task_1_1", ONE, "lab04", "eve").manual_comment = f"Look at **this**. {MARKUP[0]}"
        book.db.commit()
    api = courses.open_course(graded.course)
    assert api.generate_feedback("lab04", "eve", force=True)["success"]
    shown = marks(graded, "eve")["1.1 Encoder block"]
    assert shown[0] == "14.5 / 20"
    assert shown[2] == "Marked by a person, instead of the 0 of the automatic checks. With 2 points of extra credit."
    comment = BeautifulSoup(page(graded, "eve"), "html5lib").select_one(".comment")
    assert comment.strong.get_text() == "this" and "person who marked it" in comment.get_text()
    assert findings(page(graded, "eve")) == []


# ---- any text at all, through the same steps ----


TEXT = st.one_of(
    st.sampled_from(MARKUP + MARKDOWN),
    st.text(max_size=60),
    st.text(alphabet="<>/\"'=`$\\{}()[]!-&;: scriptonerrjavhfmgx\n\t#", max_size=80),
    st.lists(st.sampled_from(MARKUP + MARKDOWN + ["<", ">", '"', "'", "`", "\n", "$", "-->", "<!--", "</"]), max_size=4).map("".join),
)
MIMES = st.sampled_from(sorted({kind for data in OUTPUTS for kind in data} | {"text/plain", "image/gif", "x/y+json"}))


def defused(cells, course):
    """A notebook with these cells, after nbgrader's autograding."""
    nb = nbformat.v4.new_notebook(cells=cells)
    strip(nb)
    return DefuseHtml(parent=SimpleParent(course)).preprocess(nb, {"nbgrader": {"assignment": "lab04", "notebook": ONE}})[0]


def shown_in_formgrader(cells, course) -> str:
    """What nbconvert's own exporter, which formgrader uses, makes of them: without the head, whose scripts are its own."""
    tree = BeautifulSoup(HTMLExporter(template_name="classic").from_notebook_node(defused(cells, course))[0], "html5lib")
    tree.head.clear()
    for picture in tree.find_all("img", src=re.compile(r"(?![^/]*:|//)")):  # a file beside the notebook
        del picture["src"]
    return str(tree)


def shown_as(cells, course) -> str:
    """The feedback page of a notebook with these cells."""
    nb = defused(cells, course)
    ids = {"assignment": "lab04", "notebook": ONE, "student": "eve", "score": 0.0, "max_score": 0.0}
    top = {"student": "eve", "assignment": "lab04", "parts": [], "score": "0", "points": "0", "open": "0", "penalty": "0", "notes": []}
    for cell in nb.cells:
        cell.metadata["given"] = False
    resources = ResourcesDict(nbgrader=ids, unetlab=top, metadata={"path": str(course)})
    return FeedbackExporter().from_notebook_node(nb, resources=resources)[0]


def SimpleParent(course):
    from traitlets.config import Configurable

    parent, app = Configurable(), Configurable()
    parent.parent, app.coursedir = app, courses.CourseDirectory(root=str(course))
    return parent


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(texts=st.lists(TEXT, min_size=1, max_size=5), outputs=st.lists(st.dictionaries(MIMES, TEXT, max_size=2), max_size=3),
       names=st.dictionaries(TEXT, st.dictionaries(MIMES, TEXT, max_size=2), max_size=2))
def test_no_text_becomes_active(graded, texts, outputs, names):
    cells = [nbformat.v4.new_markdown_cell(text, attachments=names) for text in texts]
    data = [nbformat.v4.new_output("display_data", data=each, metadata={"image/png": {"alt": texts[0], "width": texts[-1]}}) for each in outputs]
    cells.append(nbformat.v4.new_code_cell(texts[0], outputs=data + [nbformat.v4.new_output("stream", text=texts[-1])]))
    assert findings(shown_as(copy.deepcopy(cells), graded.course)) == []
    assert findings(shown_in_formgrader(cells, graded.course)) == []


def test_every_attack_is_harmless_in_formgrader_too(graded):
    cells = [nbformat.v4.new_markdown_cell(text) for text in MARKUP + MARKDOWN]
    cells.append(nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", data=data) for data in OUTPUTS]))
    page = shown_in_formgrader(cells, graded.course)
    assert findings(page) == [] and page.count("gotcha") > 20


@pytest.mark.parametrize("text", [
    "[x](javascript:f())", "[x](<javascript:f()>)", "[x](java&#115;cript:f())", "[x][y]\n\n[y]: javascript:f()", "<javascript:f()>",
    "[x](vbscript:f)", "[x](JaVaScRiPt:f() 'title')", "[x](data:text/html,y)", "[x](\\javascript:f())", "![gone](attachment:gone.png)",
])
def test_links_that_lead_to_no_web_page_are_no_links(graded, text):
    page = BeautifulSoup(shown_in_formgrader([nbformat.v4.new_markdown_cell(text)], graded.course), "html5lib")
    assert not [a for a in page.body.find_all("a") if re.match(r"\s*[a-z][\w.+-]*:", a["href"], re.IGNORECASE)]


def test_links_to_web_pages_stay(graded):
    text = "[a](https://arxiv.org/abs/1505.04597) <https://example.org> [b](report.pdf) [c](#top) [d](mailto:a@b.c)"
    page = BeautifulSoup(shown_in_formgrader([nbformat.v4.new_markdown_cell(text)], graded.course), "html5lib")
    assert len(page.body.find_all("a")) == 5


@settings(max_examples=4 * EXAMPLES, deadline=None, derandomize=True)
@given(text=TEXT)
def test_no_message_becomes_active_in_a_card(text):
    task, *_ = load_rubric().values()
    parts = {name: text for name in ("message", "rule", "hint", "input", "came", "expected")}
    check = {"name": text, "hidden": False, "passed": False, "points": 1.0, **parts}
    outcome = {"score": 0.0, "max_score": 1.0, "checks": [check], "left_out": [text], "unreadable": text,
               "diagnoses": [{"title": text, "hint": text}]}
    assert findings(f"<!DOCTYPE html><title>x</title><body>{card_html(task.id, outcome)}") == []
    assert not set("<>$&") & set(comment_text(task.id, outcome))


@settings(max_examples=4 * EXAMPLES, deadline=None, derandomize=True)
@given(tex=TEXT)
def test_no_formula_becomes_active(tex):
    assert findings(f"<!DOCTYPE html><title>x</title><body>{mathml(tex, 'block')}") == []


def test_formulas_are_shown_without_a_script():
    assert "<mfrac>" in mathml(r"\frac{2|A \cap B|}{|A| + |B|}", "block")
    assert mathml("x" * 5000, "inline").startswith("<code>")


def test_an_unsafe_page_is_found_out():
    """The searcher itself: each attack, shown as it is, is found."""
    for text in MARKUP:
        assert findings(f"<!DOCTYPE html><title>x</title><body><p>{text}</p>"), text
